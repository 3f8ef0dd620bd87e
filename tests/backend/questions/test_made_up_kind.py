"""A kind of question that nobody has heard of: one class, registered, and the whole loop knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from statistics import median_low
from typing import cast

import pytest

from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.questions import QUESTIONS
from nextlabel.backend.questions.choice import SingleChoice
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Labeling, LabelKind, Record, Value
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import settled, started
from tests.waiting import wait_for

STARS = ("1", "2", "3", "4", "5")


class Kind(StrEnum):
    RATING = "rating"


RATING = cast(LabelKind, Kind.RATING)


class Rating(SingleChoice):
    """Labels in an order: annotators agree on the one in the middle, and a tie is no tie."""

    def _decided(self, votes: Sequence[Value]) -> Value:
        return (self.labeling.labels[median_low(self.index[str(vote[0])] for vote in votes)],)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> MemoryConnector:
    monkeypatch.setitem(QUESTIONS, RATING, Rating)
    return MemoryConnector(Labeling(RATING, STARS), overlap=3)


def stars(record: Record) -> int:
    """How many a record deserves: its first word decides."""
    return {"cat": 1, "oak": 3, "pebble,": 4}[record.fields["text"].split()[1]]


def test_it_goes_through_the_whole_loop(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
) -> None:
    service = started(make_service, platform)
    answered = dict(list(platform.pushed.items())[:51])
    for remote_id, record in answered.items():
        for who, off in (("ann", 0), ("bob", 0), ("eve", 1)):  # eve is too kind
            platform.annotate(remote_id, STARS[stars(record) - 1 + off], who)
    wait_for(lambda: settled(service, store) and service.status().labelled == len(answered))
    status = service.status()
    # consensus, counts and the audit slice, which was not trained on
    assert status.label_counts == {"1": 17, "2": 0, "3": 17, "4": 17, "5": 0}
    assert status.audit["n"] == status.audit_labelled > 0
    assert status.audit["accuracy"] == 1.0
    # a probe that learned it, asked over HTTP's door
    unseen = Record("", {"text": "an oak in leaf near house 77"})
    [said] = asyncio.run(service.classify([unseen]))
    assert said is not None
    assert said.suggestion.value == ("3",)
    assert tuple(said.probabilities) == STARS
    # selection: a queue with suggestions was published from that model
    version, entries = platform.published[-1]
    assert version == status.generation
    assert {entry.remote_id for entry in entries} <= platform.pushed.keys() - answered.keys()
    assert [entry.suggestion.value for entry in entries if entry.suggestion] == [
        (STARS[stars(platform.pushed[entry.remote_id]) - 1],) for entry in entries if entry.suggestion
    ]
    # export
    exported = {str(row["uid"]): row["answer"] for row in record_rows(store, platform.labeling)}
    assert exported == {record.uid: [STARS[stars(record) - 1]] for record in answered.values()}


def test_the_one_in_the_middle_is_agreed_on(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
) -> None:
    """Of three different answers the newest would win by majority."""
    service = started(make_service, platform)
    record = next(iter(platform.pushed))
    for who, given in (("ann", "5"), ("bob", "2"), ("eve", "1")):
        platform.annotate(record, given, who)
    wait_for(lambda: settled(service, store) and sum(service.status().label_counts.values()) == 1)
    assert service.status().label_counts["2"] == 1
