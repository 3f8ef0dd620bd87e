"""People at work in the crash tests, what they were told is stored, and what the platform itself says was answered."""

from __future__ import annotations

import csv
import random
import secrets
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from nextlabel.backend.stack import Annotator, ArgillaAnnotator, Page, PlatformServer, Response, Submitted
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformError, PlatformUnavailable

LABELS = ["animal", "plant", "stone"]
PAUSE_S = (0.2, 0.8)
"""How long a person thinks."""
NO_PAUSE_S = (0.0, 0.02)
"""How long somebody thinks who goes as fast as the server lets them."""

Json = dict[str, Any]
Answer = tuple[str, tuple[str, ...]]
"""Where an answer stands, as our log names it (submitted, skipped or draft), and its labels."""
Stored = TypeVar("Stored", Submitted, Response)


def write_recipe(folder: Path, name: str, texts: int) -> Path:
    """A recipe over made-up sentences, all different; no model to load."""
    with (folder / "texts.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text"])
        writer.writerows([f"number {i}: {['a cat', 'an oak', 'a pebble'][i % 3]} by the river"] for i in range(texts))
    path = folder / f"{name}.yaml"
    title = f"title: {name} {secrets.token_hex(4)}\n"  # Argilla takes a title once
    path.write_text(f"{title}data: texts.csv\nfields: text\nlabels: [{', '.join(LABELS)}]\nencoder: hashing\n")
    return path


class Restless(threading.Thread, ABC):
    """Labels, and now and then changes its mind, deletes an answer, or skips.

    ``patient``: a platform that is down is waited for, as a person would; otherwise it is a failure. ``pause_s``: the
    shortest and the longest time between two things done. ``told`` is what the platform said that it has of this
    person, by the answer's id, and ``gone`` what it said was deleted;
    ``unanswered`` counts the calls of which it never said what became of them.
    """

    def __init__(
        self, seed: int, stop: threading.Event, *, patient: bool = False, pause_s: tuple[float, float] = PAUSE_S
    ) -> None:
        super().__init__(daemon=True)
        self._random, self._stop_event, self._patient, self._pause_s = random.Random(seed), stop, patient, pause_s
        self.told: dict[str, Answer] = {}
        self.gone: set[str] = set()
        self.unanswered = 0
        self.done: Counter[str] = Counter()
        self.failures: list[Exception] = []

    def run(self) -> None:
        """Work until told to stop, or nothing is left."""
        while not self._stop_event.wait(self._random.uniform(*self._pause_s)):
            try:
                if not self._one():
                    return
            except (httpx.TransportError, PlatformError) as error:
                if not self._bears(error):
                    self.failures.append(error)
                    return

    @abstractmethod
    def _one(self) -> bool:
        """Do one thing; whether there is more to do."""

    @abstractmethod
    def change(self, given: str) -> None:
        """Give another label in the answer with this id."""

    @abstractmethod
    def remove(self, given: str) -> None:
        """Delete the answer with this id."""

    def _bears(self, error: Exception) -> bool:
        self.done["waited"] += self._patient
        return self._patient

    def _store(self, what: str, answer: Answer, call: Callable[[], Stored], earlier: str = "") -> Stored:
        """Have ``call`` store ``answer``, in place of the one with the id ``earlier`` if there is one."""
        stored = self._make(call, earlier)
        self.told[str(stored.id)] = answer
        self.done[what] += 1
        return stored

    def _take_back(self, number: str, call: Callable[[], None]) -> None:
        self._make(call, number)
        self.gone.add(number)
        self.done["deleted"] += 1

    def _make(self, call: Callable[[], Any], earlier: str) -> Any:
        before = self.told.pop(earlier, None)
        try:
            return call()
        except (httpx.TransportError, PlatformError) as error:
            if isinstance(error, httpx.ConnectError) or (isinstance(error, PlatformError) and error.status < 500):
                if before:  # it heard nothing of it, or refused
                    self.told[earlier] = before
            else:
                self.unanswered += 1
            raise

    def _some(self, *statuses: str) -> str:
        """One of the answers given, its id; empty if there is none yet."""
        given = [number for number, (status, _) in self.told.items() if status in statuses]
        return self._random.choice(given) if given else ""

    def _label(self) -> str:
        return self._random.choice(LABELS)


class OnLabelStudio(Restless):
    """Somebody restless on Label Studio."""

    def __init__(self, client: Annotator, seed: int, stop: threading.Event, **options: Any) -> None:
        super().__init__(seed, stop, **options)
        self._client = client

    def _one(self) -> bool:
        task = self._client.next_task()
        if task is None:
            return False
        self._client.open(task)
        dice, label = self._random.random(), self._label()
        if dice < 0.05:
            self._store("skipped", ("skipped", ()), lambda: self._client.skip(task))
            return True
        self._store("submitted", ("submitted", (label,)), lambda: self._client.submit(task, label))
        if dice > 0.9:
            self.change(self._some("submitted"))
        elif dice > 0.85:
            self.remove(self._some("submitted"))
        return True

    def change(self, given: str) -> None:
        label = self._label()
        self._store("updated", ("submitted", (label,)), lambda: self._client.update(int(given), label), given)

    def remove(self, given: str) -> None:
        self._take_back(given, lambda: self._client.delete(int(given)))


class OnArgilla(Restless):
    """Somebody restless on Argilla, at a page opened at their own link; saves drafts too, and reloads now and then.

    An answer is stored and the page goes on in two steps: a fetch that fails says nothing about the answer before it.
    An error of the server's own is counted under its status and borne. ``refused`` are the records that were shown
    again after an answer, and refused therefore: passed over, as a person would.
    """

    def __init__(self, client: ArgillaAnnotator, link: str, seed: int, stop: threading.Event, **options: Any) -> None:
        super().__init__(seed, stop, **options)
        self.client, self.link = client, link
        self.refused: Counter[str] = Counter()
        self._page: Page | None = None

    def _one(self) -> bool:
        shown = self._shown()
        if shown is None:
            return self.client.pending(self.link, limit=1)[1] > 0
        page, dice, label = self._page, self._random.random(), self._label()
        assert page is not None
        mine = str(shown["responses"][0]["id"]) if shown.get("responses") else ""  # a draft, carried on with
        if dice < 0.05:
            page.stored(self._store("skipped", ("skipped", ()), lambda: self.client.discard(shown), mine))
        elif dice < 0.15:
            self._store("drafts", ("draft", (label,)), lambda: page.draft(label), mine)
            if dice < 0.1:
                page.forward()
        else:
            page.stored(
                self._store("submitted", ("submitted", (label,)), lambda: self.client.submit(shown, label), mine)
            )
        dice = self._random.random()
        if dice > 0.9 and (given := self._some("submitted", "skipped", "draft")):
            self.change(given)
        elif dice > 0.85 and (given := self._some("submitted", "skipped", "draft")):
            self.remove(given)
            page.reload()  # it may have been the draft that the page shows
        elif dice > 0.8:
            page.reload()
        return True

    def change(self, given: str) -> None:
        label = self._label()
        self._store("updated", ("submitted", (label,)), lambda: self.client.update(given, label), given)

    def remove(self, given: str) -> None:
        self._take_back(given, lambda: self.client.delete(given))

    def _shown(self) -> Json | None:
        """What the page shows; it is opened anew where it is empty, or was in the way of an error."""
        if self._page is None:
            self._page = Page(self.client, self.link)
        elif self._page.current is None:
            self._page.reload()
        while self._page.current is not None and self._page.current["id"] in self.refused:
            self._page.forward()
        return self._page.current

    def _bears(self, error: Exception) -> bool:
        shown = self._page.current if self._page else None
        self._page = None
        if not isinstance(error, PlatformError):
            return super()._bears(error)
        self.done[f"status {error.status}"] += 1
        if error.status == 409 and shown is not None:
            self.refused[str(shown["id"])] += 1
        return error.status == 409 or error.status >= 500 or self._patient


def hire(
    server: PlatformServer, keys: Mapping[str, str], status: Json, stop: threading.Event, **options: Any
) -> list[Restless]:
    """Somebody for each of ``keys`` (name -> API key) to label in the project of ``status``; at work already."""
    project = status["project"]["id"]
    people: list[Restless] = []
    for seed, (name, key) in enumerate(keys.items()):
        if server.platform == "argilla":
            client = ArgillaAnnotator(server.url, key, project)
            people.append(OnArgilla(client, status["links"][name], seed, stop, **options))
        else:
            people.append(OnLabelStudio(Annotator(server.url, key, project), seed, stop, **options))
    for person in people:
        person.start()
    return people


def dismiss(people: Sequence[Restless], stop: threading.Event) -> None:
    """Let them finish what they are at; none of them met anything that people don't bear."""
    stop.set()
    for person in people:
        person.join(90)
    assert not any(person.is_alive() for person in people)
    assert [error for person in people for error in person.failures] == []


def tally(people: Sequence[Restless]) -> Counter[str]:
    """What all of them did."""
    return sum((person.done for person in people), Counter[str]())


def check_told(
    people: Sequence[Restless], platform: Mapping[str, Answer], others: Mapping[str, Answer] | None = None
) -> None:
    """What people were told is stored stands there unchanged, what was deleted is gone, and nothing else is there.

    ``others`` is what was answered otherwise.
    """
    told = {number: answer for person in people for number, answer in person.told.items()} | dict(others or {})
    changed = {number: (answer, platform.get(number)) for number, answer in told.items()}
    assert {number: pair for number, pair in changed.items() if pair[0] != pair[1]} == {}, "an answer was changed"
    assert not platform.keys() & {number for person in people for number in person.gone}, "a deletion was undone"
    unknown = platform.keys() - told.keys()
    assert len(unknown) <= sum(person.unanswered for person in people), "answers that nobody gave"


def exported(server: PlatformServer, project: str) -> dict[str, Answer]:
    """Every answer by its id, drafts too, by the platform's own account: nothing of our connectors is used."""
    return _of_argilla(server, project) if server.platform == "argilla" else _of_label_studio(server, project)


def _of_label_studio(server: PlatformServer, project: str) -> dict[str, Answer]:
    answer = httpx.get(
        f"{server.url}/api/projects/{project}/export",
        params={"exportType": "JSON", "download_all_tasks": "true"},
        headers={"Authorization": f"Token {server.token}"},
        timeout=120,
        trust_env=False,
    )
    return {
        str(one["id"]): ("skipped", ())
        if one["was_cancelled"]
        else ("submitted", tuple(one["result"][0]["value"]["choices"]))
        for task in answer.raise_for_status().json()
        for one in task["annotations"]
    }


def _of_argilla(server: PlatformServer, project: str) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for item in owners_records(server, project):
        for one in item["responses"]:
            labels = tuple(value["value"] for value in (one["values"] or {}).values())
            found[one["id"]] = ({"discarded": "skipped"}.get(one["status"], one["status"]), labels)
    return found


def owners_records(server: PlatformServer, dataset: str) -> list[Json]:
    """Every record of a dataset of Argilla with everybody's responses, from the database."""
    records: list[Json] = []
    while True:
        answer = httpx.get(
            f"{server.url}/api/v1/datasets/{dataset}/records",
            params={"include": "responses", "limit": 500, "offset": len(records)},
            headers={"X-Argilla-Api-Key": server.token},
            timeout=120,
            trust_env=False,
        )
        page = answer.raise_for_status().json()["items"]
        records += page
        if not page:
            return records


def offered_again(server: PlatformServer, project: str, people: Sequence[Restless]) -> Counter[str]:
    """How many records Argilla offers to somebody who answered them, or though they have enough answers.

    Its search index then knows less than its database. None on Label Studio, which has no such index.
    """
    found: Counter[str] = Counter()
    mine = [person for person in people if isinstance(person, OnArgilla)]
    records = {item["id"]: item for item in owners_records(server, project)} if mine else {}
    for person in mine:
        for offered in person.client.pending(person.link, limit=1000)[0]:
            item = records[offered["id"]]
            found["by themselves"] += any(one["id"] in person.told for one in item["responses"])
            found["enough"] += item["status"] == "completed"
    return found


def logged(store: str | Path) -> list[tuple[str, Answer]]:
    """Id and content of every answer that stands in our log, drafts too."""
    with Store.open(store) as opened:
        return [
            (one.id, (one.status.value, tuple(str(label) for label in one.value)))
            for current in opened.touched(0).values()
            for one in current
        ]


def until_logged(
    backend: BackendProcess, store: str | Path, platform: Mapping[str, Answer], limit_s: float = 120
) -> None:
    """Wait for a log that equals the platform's list; if it never comes, say what differs."""
    try:
        backend.wait(lambda _: dict(logged(store)) == platform, "a log that equals the platform's list", limit_s)
    except PlatformUnavailable as error:
        ours = dict(logged(store))
        both = {number: (ours.get(number), platform.get(number)) for number in ours.keys() | platform.keys()}
        differing = {number: (here, there) for number, (here, there) in both.items() if here != there}
        raise AssertionError(f"log and platform differ: {differing}\n{error}") from None


def check_log(store: str | Path, platform: Mapping[str, Answer]) -> None:
    """Our log is what the platform has: nothing lost, nothing twice, and drafts count for nothing."""
    ours = logged(store)
    assert len({number for number, _ in ours}) == len(ours), "an answer counts twice"
    assert dict(ours) == platform
    with Store.open(store) as opened:
        counted = [one.id for one in opened.answers()]
    assert sorted(counted) == sorted(number for number, (status, _) in platform.items() if status != "draft")
