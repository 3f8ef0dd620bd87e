"""Answers and records with fields that are missing, null or of another type stop nothing, and cost no neighbour."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla import config as argilla
from nextlabel.connectors.argilla.payloads import read_event as read_argilla_event
from nextlabel.connectors.argilla.payloads import read_record, read_responses
from nextlabel.connectors.basics import batched
from nextlabel.connectors.label_studio.config import form_of
from nextlabel.connectors.label_studio.payloads import read_event, read_found, remote_record, write_result
from nextlabel.connectors.records import Changes, Found, Hint, Labeling, LabelKind, RemoteRecord, Span, Value
from nextlabel.connectors.testing import MemoryConnector
from tests.odd import oddities

RUNS = 600
"""Odd answers of each kind on each platform: 1,800, and a few hundred odd records and events."""
PAGE = 40
VALUES: Mapping[LabelKind, Value] = {
    LabelKind.SINGLE: ("sport",),
    LabelKind.MULTI: ("sport", "politics"),
    LabelKind.SPAN: (Span(0, 4, "sport"), Span(5, 7, "politics")),
}
TIME = "2026-11-22T06:29:07.093071Z"


def labeling(kind: LabelKind) -> Labeling:
    return Labeling(kind, ("sport", "politics"))


def label_studio_body(kind: LabelKind, number: int) -> dict[str, Any]:
    """An annotation as Label Studio 1.23 lists it."""
    other = {"id": "o", "from_name": "why", "to_name": "text", "type": "textarea", "value": {"text": ["because"]}}
    result = [{"id": "r", "origin": "manual", **one} for one in write_result(form_of(labeling(kind)), VALUES[kind])]
    return {
        "id": number,
        "completed_by": 3,
        "result": [*result, other],
        "was_cancelled": False,
        "updated_at": TIME,
    }


def argilla_body(kind: LabelKind, number: int) -> dict[str, Any]:
    """A response as Argilla 2.8 lists it."""
    spans = [{"start": 0, "end": 4, "label": "sport"}, {"start": 5, "end": 7, "label": "politics"}]
    value = {LabelKind.SINGLE: "sport", LabelKind.MULTI: ["sport", "politics"], LabelKind.SPAN: spans}[kind]
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "values": {"label": {"value": value}, "why": {"value": "because"}},
        "status": "submitted",
        "user_id": "9d1c3a2e-0f64-4d39-8b5c-6c4c8f5f6a11",
        "inserted_at": TIME.removesuffix("Z"),
        "updated_at": TIME.removesuffix("Z"),
    }


def read_label_studio(kind: LabelKind, task: int, bodies: Sequence[Any]) -> list[Found]:
    return [read_found(form_of(labeling(kind)), body, task) for body in bodies]


def read_argilla(kind: LabelKind, record: int, bodies: Sequence[Any]) -> list[Found]:
    form = argilla.Form(labeling(kind), "label", "q", "text" if kind is LabelKind.SPAN else "", overlapping=True)
    fields = {"text": "Anna at Acme"}
    return read_responses(form, {"id": str(record), "fields": fields, "updated_at": TIME, "responses": bodies})


PLATFORMS = {"label-studio": (label_studio_body, read_label_studio), "argilla": (argilla_body, read_argilla)}


@pytest.fixture
def intake(store: Store, platform: MemoryConnector) -> Intake:
    return Intake(store, platform, on_news=lambda _: None, on_gone=lambda _: None, wake=lambda: None)


@pytest.mark.parametrize("kind", list(LabelKind))
@pytest.mark.parametrize("name", list(PLATFORMS))
def test_an_odd_answer_costs_no_neighbour_and_stops_nothing(
    name: str, kind: LabelKind, intake: Intake, store: Store
) -> None:
    """Each stands between two good ones; what is read of all of them goes into the log and into the pool."""
    make, read = PLATFORMS[name]
    pool, numbers = PoolState(question_of(labeling(kind))), itertools.count(1)
    aside = 0
    for page in batched(oddities(make(kind, 0), RUNS), PAGE):
        good = {record: (make(kind, next(numbers)), make(kind, next(numbers))) for record in range(len(page))}
        found = {str(record): read(kind, record, [good[record][0], page[record], good[record][1]]) for record in good}
        changes = Changes.listed(found)
        intake.read(changes, store.head())
        pool.answer(store.touched(0))
        values = {one.id: one.value for one in changes.annotations}
        assert all(values[str(body["id"])] == VALUES[kind] for pair in good.values() for body in pair)
        assert all(one.reason and one.fix for one in changes.unreadable)
        aside += len(changes.unreadable)
    assert 0 < aside < RUNS
    assert 0 < len(store.notices()) <= aside
    assert next(numbers) == 2 * RUNS + 1


def task(number: int) -> dict[str, Any]:
    """A task as Label Studio lists it."""
    return {"id": number, "data": {"text": f"Anna {number}", "nextlabel_uid": f"u{number}"}, "meta": {"from": "mail"}}


def record(number: int) -> dict[str, Any]:
    """A record as Argilla lists it."""
    content = {"fields": {"text": f"Anna {number}"}, "metadata": {"from": "mail"}}
    return {"id": str(number), "external_id": f"u{number}", **content}


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (task, lambda item: remote_record(item, labeling(LabelKind.SINGLE))),
        (record, lambda item: read_record(argilla.Form(labeling(LabelKind.SINGLE), "label", "q"), item)),
    ],
    ids=list(PLATFORMS),
)
def test_an_odd_record_costs_no_neighbour_and_stops_nothing(
    make: Callable[[int], Any], read: Callable[[Any], RemoteRecord], store: Store
) -> None:
    odd = [one | {"id": str(number)} for number, one in enumerate(oddities(make(1000), 200))]
    good = [make(number) for number in range(200, 400)]
    store.add_listed([read(item) for pair in zip(good, odd, strict=True) for item in pair])
    found = store.get_remote([str(number) for number in range(200, 400)])
    assert {int(key): item.record.fields["text"] for key, item in found.items()} == {
        number: f"Anna {number}" for number in range(200, 400)
    }


def events() -> Iterator[tuple[Callable[[Any], Hint], dict[str, Any]]]:
    yield (
        lambda body: read_event("<View/>", "9", body),
        {"action": "ANNOTATIONS_CREATED", "annotation": [{"id": 1, "task": 1}, {"id": 2, "task": 2, "prediction": {}}]},
    )
    yield (
        lambda body: read_event("<View/>", "9", body),
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}, {"id": 2}]},
    )
    record = {"id": "2", "dataset": {"id": "d"}}
    yield (
        lambda body: read_argilla_event("d", body),
        {"type": "response.created", "data": {"id": "2", "record": record}},
    )


@pytest.mark.parametrize(("read", "body"), list(events()))
def test_an_odd_event_is_refused_or_says_where_to_look(read: Callable[[Any], Hint], body: dict[str, Any]) -> None:
    for odd in oddities(body, 200):
        with contextlib.suppress(ValueError):
            assert isinstance(read(odd), Hint)


def test_what_is_odd_in_one_part_of_an_event_keeps_no_other_out() -> None:
    body = {"action": "ANNOTATIONS_CREATED", "annotation": [{"id": None}, {"id": 2, "task": 3, "prediction": 5}, 7]}
    assert read_event("<View/>", "9", body) == Hint(annotations={"2": "3"})
