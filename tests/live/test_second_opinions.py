"""Three annotators who disagree, on both platforms: the strategy asks again, a consensus corrects what is learned.

Nobody calls ``nextlabel relabel`` here: the running service decides on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.questions import question_of
from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaServer, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, past
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Labeling, LabelKind
from tests.live.argilla_calls import forget_webhooks

LABELS = ("good", "bad")
RECIPE = """\
title: second opinions
platform: {platform}
data: reviews.csv
fields: review
labels: [good, bad]
encoder: hashing
strategy: activelab
opinions: 3
consensus: crowdlab
audit_share: 0
"""


@dataclass(frozen=True)
class Shown:
    """What a person sees: the record's id on the platform, its text, and whether nothing is suggested."""

    id: str
    text: str
    blind: bool

    @property
    def truth(self) -> str:
        return next(label for label in LABELS if label in self.text)


class Studio:
    """A person at Label Studio."""

    def __init__(self, server: LabelStudioServer, token: str, process: BackendProcess) -> None:
        self.person = Annotator(server.url, token, process.status()["project"]["id"])

    def next(self) -> Shown | None:
        task = self.person.next_task()
        if task is None:
            return None
        shown = any(one["result"] for one in task["predictions"])
        return Shown(str(task["id"]), task["data"]["text"], not shown)

    def say(self, shown: Shown, label: str) -> Any:
        return self.person.submit(int(shown.id), label)

    def change(self, answer: Any, label: str) -> None:
        self.person.update(answer, label)


class Argilla:
    """A person at Argilla, who follows the link that is theirs."""

    def __init__(self, server: ArgillaServer, key: str, process: BackendProcess, name: str) -> None:
        self.person = ArgillaAnnotator(server.url, key, process.status()["project"]["id"])
        self.link = process.status()["links"][name]

    def next(self) -> Shown | None:
        record = self.person.next(self.link)
        return None if record is None else Shown(record["id"], record["fields"]["text"], not record["suggestions"])

    def say(self, shown: Shown, label: str) -> Any:
        return self.person.submit(shown.id, label)

    def change(self, answer: Any, label: str) -> None:
        self.person.update(answer, label)


Person = Studio | Argilla


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., BackendProcess]]:
    """A service for the recipe on a server, started, with its first queue."""
    made: list[BackendProcess] = []

    def start(server: LabelStudioServer | ArgillaServer) -> BackendProcess:
        rows = [f"review {n} is {LABELS[n % 2]} indeed" for n in range(100)]
        (tmp_path / "reviews.csv").write_text("\n".join(["review", *rows]) + "\n")
        path = tmp_path / "second.yaml"
        path.write_text(RECIPE.format(platform=server.platform))
        made.append(BackendProcess(str(path), server, tmp_path / "home"))
        made[-1].start()
        made[-1].wait_ready()
        return made[-1]

    yield start
    for process in made:
        process.stop()


def asked(process: BackendProcess) -> set[str]:
    """The platform's ids of the records that more than one annotator is wanted for."""
    with Store.open(process.home / "second" / "store.sqlite") as store:
        return {str(item.remote_id) for item in store.records() if item.opinions > 1}


def majority(process: BackendProcess) -> dict[str, int]:
    """How often each label is the majority's."""
    with Store.open(process.home / "second" / "store.sqlite") as store:
        labeling = Labeling(LabelKind.SINGLE, LABELS)
        said = [question_of(labeling).consensus(given) for given in store.touched(0).values()]
    return {label: said.count((label,)) for label in LABELS}


def answer(process: BackendProcess, person: Person, label: str | None = None) -> tuple[Shown, Any]:
    """The next record in a person's order, answered with ``label``, or with the truth."""
    shown = person.next()
    assert shown is not None
    head = process.status()["log_head"]
    given = person.say(shown, label or shown.truth)
    process.wait(lambda status: status["log_head"] > head, "the answer")
    process.wait_settled()
    return shown, given


def second_opinions(process: BackendProcess, ann: Person, bob: Person, eve: Person) -> None:
    """Ann and Eve know what they see; Bob finds everything bad."""
    for _ in range(20):
        answer(process, ann)
    assert process.status()["asked_again"] == 0, "one annotator alone is asked nothing again"
    by_bob: dict[str, tuple[Shown, Any]] = {}
    while sum(shown.truth == "good" for shown, _ in by_bob.values()) < 3 and len(by_bob) < 15:
        shown, given = answer(process, bob, "bad")
        assert shown.id not in by_bob, "nobody is asked twice"
        by_bob[shown.id] = shown, given
    by_eve: set[str] = set()
    found = None
    while found is None and len(by_eve) < 60:  # new records come in between, and other doubtful ones
        again = asked(process)
        shown, _ = answer(process, eve)
        assert shown.id not in by_eve, "nobody is asked twice"
        by_eve.add(shown.id)
        assert process.status()["asked_again"] <= 5
        if shown.id in again:
            assert shown.blind, "a second opinion is given blind"
            found = shown if shown.id in by_bob and shown.truth == "good" else None
    assert found is not None, "what Bob got wrong never reached another annotator"
    assert process.status()["last_error"] == ""
    following = bob.next()
    assert following is not None
    assert following.id not in by_bob, "who answered is not asked again"

    # Bob wavers, and insists: his is the newest of two answers, so that a majority would have it his way.
    for label in ("good", "bad"):
        head = process.status()["log_head"]
        bob.change(by_bob[found.id][1], label)
        process.wait(past("log_head", head), "Bob's change")
        process.wait_settled()
    learned = process.status()["label_counts"]
    assert learned["good"] > majority(process)["good"], "the model learns what was agreed on"
    assert sum(learned.values()) == sum(majority(process).values())


def test_label_studio(
    begin: Callable[..., BackendProcess], label_studio: LabelStudioServer, annotators: list[str]
) -> None:
    process = begin(label_studio)
    second_opinions(process, *(Studio(label_studio, token, process) for token in annotators[:3]))


def test_argilla(begin: Callable[..., BackendProcess], argilla: ArgillaServer, argilla_users: list[str]) -> None:
    forget_webhooks(argilla)
    process = begin(argilla)
    process.wait(lambda status: "annotator2" in status["links"], "everybody's link")
    try:
        people = [Argilla(argilla, key, process, f"annotator{at}") for at, key in enumerate(argilla_users[:3])]
        second_opinions(process, *people)
    finally:
        process.stop()
        forget_webhooks(argilla)
