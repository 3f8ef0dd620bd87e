"""A team changes its labels after a training, on real platforms: the loop goes on, and says what it knows.

Once a platform a tiny encoder is trained. Then each test changes the question on the platform and in the recipe, and
starts the service again on a copy of what it left. Label Studio lets any label be added, removed or renamed, and one
become several. Argilla keeps the labels of a published question for ever, but for their order: who wants others there
has to ask another question, so the dataset has one for each change, which everybody answers from the start.
"""

from __future__ import annotations

import random
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_app
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.evaluation.comparison import Verdict
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.retraining import candidates
from nextlabel.backend.service.ports import Status
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.store.lineage import INSTANCE_KEY
from tests.backend.tiny_bert import tiny_bert
from tests.live import argilla_calls
from tests.live.teams import Question, Studio, Team, settled, started, wait

LABELS = ("bug", "praise", "bill")
RECORDS, ANSWERED = 72, 48
UNSEEN = range(1000, 1060)
SECRETS = Credentials(user="ls", password="a password", api_token="a token", webhook_secret="a secret")
RECIPE = """\
platform: {platform}
project: {project}
question: {question}
data: texts.csv
fields: text
kind: {kind}
labels: [{labels}]
encoder: tiny
engine: torch
max_length: 32
audit_share: 0
training: {{rung: fine-tune, start_at: 1000, epochs: 12, patience: 0, learning_rate: 0.003, head_learning_rate: 0.003}}
"""


@dataclass(frozen=True)
class Change(Question):
    """Another question: ``word`` is said of a model that was made for LABELS."""

    word: str = ""


BEFORE = Question("label", LABELS)
CHANGES = {
    "reordered": Change("label", LABELS[::-1]),
    "added": Change("added", ("refund", *LABELS), word="it knows nothing yet of refund"),
    "removed": Change("removed", ("bill", "bug"), word="what it knows of praise is no longer asked for"),
    "renamed": Change("renamed", ("bug", "thanks", "bill"), word="it knows nothing yet of thanks"),
    "several": Change("several", LABELS, "multi", word="it was made for one label per record"),
}


def truth(number: int) -> str:
    return LABELS[number % 3]


def text(number: int) -> str:
    """Eight words, two of which tell the label."""
    dice, first = random.Random(number), 10 * (number % 3)
    words = [f"word{dice.randrange(40, 200)}" for _ in range(6)]
    words += [f"word{first + dice.randrange(3)}" for _ in range(2)]
    dice.shuffle(words)
    return " ".join(words)


NUMBERS = {text(number): number for number in range(RECORDS)}


def values(label: str) -> dict[str, list[str]]:
    """What everybody says who means ``label``: all questions that have room for it are answered."""
    found = {"label": [label]}
    for question in CHANGES.values():
        here = "thanks" if question.name == "renamed" and label == "praise" else label
        if here in question.labels:
            found[question.name] = [here]
    return found


class Running:
    """A service of this process, with its HTTP edge."""

    def __init__(self, service: Service, client: TestClient) -> None:
        self.service, self._client = service, client

    def wait(self, until: Callable[[Status], object], limit_s: float = 120) -> Status:
        return wait(self.service, until, limit_s)

    def settled(self) -> Status:
        return settled(self.service)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = self._client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def predicted(self) -> dict[int, tuple[str, ...]]:
        """Number of a text that nobody labelled -> what is said of it."""
        body = self.post("/api/predict", {"texts": [text(number) for number in UNSEEN]})
        assert all(set(one["probabilities"]) == set(self.service.labeling.labels) for one in body["predictions"])
        return {number: tuple(one["labels"]) for number, one in zip(UNSEEN, body["predictions"], strict=True)}


@dataclass(frozen=True)
class Taught:
    """A project in which an encoder was trained, and what its service left at ``home``."""

    team: Team
    project: str
    home: Path
    before: dict[int, tuple[str, ...]]

    def recipe(self, folder: Path, question: Question) -> Path:
        path = folder / "texts.yaml"
        shown = {"labels": ", ".join(question.labels), "kind": question.kind, "project": self.project}
        path.write_text(RECIPE.format(platform=self.team.platform, question=self.asked(question).name, **shown))
        (folder / "texts.csv").write_text("\n".join(["text", *NUMBERS]) + "\n")
        return path

    def asked(self, question: Question) -> Question:
        """The same, by the name that it has on the platform."""
        return question if self.team.platform == "argilla" else replace(question, name=BEFORE.name)

    def ask(self, question: Question) -> None:
        self.team.ask(self.project, self.asked(question))

    def answer(self, labels: Mapping[str, str]) -> None:
        """Remote id -> what its annotator means."""
        self.team.answer(self.project, {record: values(label) for record, label in labels.items()})

    def suggested(self, question: Question) -> set[str]:
        return self.team.suggested(self.project, self.asked(question))

    @contextmanager
    def run(self, folder: Path, home: Path, question: Question) -> Iterator[Running]:
        """The service, started on ``home``, as the recipe for ``question`` has it."""
        recipe = Recipe.from_yaml(self.recipe(folder, question)).model_copy(update={"encoder": str(tiny(self.home))})
        settings = self.team.settings(home)
        with started(recipe, settings) as service:
            app = create_app(service, settings, secrets=SECRETS)
            with TestClient(app, raise_server_exceptions=False) as client:
                client.headers["Authorization"] = f"Bearer {SECRETS.api_token}"
                yield Running(service, client)


def tiny(home: Path) -> Path:
    return home.parent / "tiny"


def open_tasks(home: Path) -> dict[str, int]:
    """Remote id -> number of its text, of the records that nobody has answered."""
    with Store.open(home / "texts" / "store.sqlite") as store:
        answered = {one.remote_id for one in store.answers()}
        found = {str(item.remote_id): NUMBERS[item.record.fields["text"]] for item in store.records()}
        return {remote_id: number for remote_id, number in found.items() if remote_id not in answered}


@pytest.fixture(scope="module")
def taught(team: Team, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taught]:
    folder = tmp_path_factory.mktemp("taught")
    home, before = folder / "home", dict[int, tuple[str, ...]]()
    tiny_bert(tiny(home), spread=0.1)
    others = [one for one in CHANGES.values() if one.name != BEFORE.name]
    project = team.make(f"labels that change {secrets.token_hex(4)}", ["text"], BEFORE, *others)
    found = Taught(team, project, home, before)
    with pytest.MonkeyPatch.context() as patched, found.run(folder, home, BEFORE) as running:
        patched.setattr(candidates, "judge", lambda held_out, audit: Verdict(True, "so that it is used", {}))
        running.wait(lambda status: status.pushed == RECORDS)
        numbers = open_tasks(home)
        found.answer({task: truth(numbers[task]) for task in list(numbers)[:ANSWERED]})
        running.wait(lambda status: status.labelled == ANSWERED)
        running.settled()
        running.service.train()
        running.wait(lambda status: status.model_version.endswith("-fine-tune-1"), 120)
        running.settled()
        before.update(running.predicted())
    yield found
    if team.platform == "argilla":
        argilla_calls.forget_webhooks(request.getfixturevalue("argilla"))


def accuracy(said: Mapping[int, Sequence[str]], labels: Sequence[str]) -> float:
    """Of the texts whose label is among ``labels``, the share of which just that is said."""
    hits = [tuple(one) == (truth(number),) for number, one in said.items() if truth(number) in labels]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_labels_changed_between_two_starts(taught: Taught, tmp_path: Path, change: Change) -> None:
    home = tmp_path / "home"
    shutil.copytree(taught.home, home)
    with Store.open(home / "texts" / "store.sqlite") as store:
        store.set_meta(INSTANCE_KEY, secrets.token_hex(3))  # or two copies would publish under the same names
    taught.ask(change)
    labels = [label for label in LABELS if label in change.labels]
    right = accuracy(taught.before, labels)
    assert right > 0.8
    with taught.run(tmp_path, home, change) as running:
        first = running.predicted()
        assert accuracy(first, labels) >= right - 0.02, "before anything was fitted"
        if change.kind == "single":
            kept = {n: one for n, one in taught.before.items() if one[0] in labels}
            assert {n: first[n] for n in kept} == kept
        status = running.settled()
        assert status.model_version.endswith("-fine-tune-1")
        assert change.word in status.labeling
        assert status.labelled >= ANSWERED * len(labels) // 3
        later = accuracy(running.predicted(), labels)
        print(f"{change.name}: {right:.3f}, at once {accuracy(first, labels):.3f}, then {later:.3f}")
        assert later >= right - 0.05
        numbers = open_tasks(home)
        task = next(one for one in numbers if truth(numbers[one]) == labels[0])
        taught.answer({task: labels[0]})
        after = running.wait(lambda now: now.labelled == status.labelled + 1)
        assert running.settled().generation != status.generation
        assert after.platform_reachable
        suggested = taught.suggested(change)
        assert suggested, "what no page holds has one"
        assert suggested <= set(change.labels)
        running.predicted()


def test_a_label_dropped_and_another_added_while_the_service_runs(taught: Taught, tmp_path: Path) -> None:
    """The recipe still asks for the three. Argilla has no such change: there the order is turned round."""
    home = tmp_path / "home"
    shutil.copytree(taught.home, home)
    with Store.open(home / "texts" / "store.sqlite") as store:
        store.set_meta(INSTANCE_KEY, secrets.token_hex(3))
    taught.ask(BEFORE)
    studio = taught.team.platform == "label-studio"
    other = Question("label", ("refund", "bug", "bill") if studio else ("bill", "praise", "bug"))
    with taught.run(tmp_path, home, BEFORE) as running:
        before = running.settled()
        assert before.labeling == ""
        taught.ask(other)
        now = running.wait(lambda status: status.generation != before.generation)
        running.settled()
        assert ("it lacks the labels praise; it has other labels: refund" in now.labeling) == studio
        suggested = taught.suggested(other)
        assert suggested == {"bug", "bill"} if studio else set(LABELS)
        numbers = open_tasks(home)
        tasks = [one for one in numbers if truth(numbers[one]) == "bug"][:2]
        taught.answer({tasks[0]: "bug"})
        running.wait(lambda status: status.labelled == before.labelled + 1)
        if studio:
            taught.answer({tasks[1]: "refund"})
            running.wait(lambda status: "logged, not learned: refund" in status.last_error)
            asked = {
                "tasks": [{"id": int(tasks[0]), "data": {"text": text(1)}}],
                "label_config": Studio.config(["text"], other),
            }
            assert running.post("/predict", asked)["results"][0]["result"] == [], "praise can't be given"
            running.post("/setup", {"project": f"{taught.project}.1", "schema": Studio.config(["text"], other)})
        assert running.settled().labelled == before.labelled + 1
        assert accuracy(running.predicted(), LABELS) >= accuracy(taught.before, LABELS) - 0.05
        taught.ask(BEFORE)
        running.wait(lambda status: status.labeling == "")
        running.settled()
        assert running.service.status().platform_reachable
