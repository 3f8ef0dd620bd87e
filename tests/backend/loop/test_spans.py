"""Spans in the loop: what people mark is learned, proposed elsewhere at the right characters, and never lost."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Field,
    Labeling,
    LabelKind,
    QueueEntry,
    Record,
    Span,
    Value,
)
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.pool.test_pool import stored
from tests.backend.running import about, settled, started, tell
from tests.waiting import wait_for

LABELS = ("people", "time")
OPENINGS = ("a table", "👩‍👧 a table", "Grüße, une table", "seats 🍕🍕")


def text_of(number: int) -> str:
    where = f"for {number % 7 + 2} people"
    return f"{OPENINGS[number % 4]} {where} at {number % 11 + 1} pm, house {number}"


def truth(text: str) -> tuple[Span, ...]:
    found = []
    for label, before, after in (("people", "for ", " people"), ("time", "at ", ",")):
        if before in text and after in text:
            start = text.index(before) + len(before)
            found.append(Span(start, text.index(after, start), label))
    return tuple(found)


def phrases(text: str, value: Value) -> list[tuple[str, str]]:
    return [(text[one.start : one.end], one.label) for one in value if isinstance(one, Span)]


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{i}", {"text": text_of(i)}) for i in range(60)]


@pytest.fixture
def platform() -> MemoryConnector:
    return MemoryConnector(Labeling(LabelKind.SPAN, LABELS))


def text(platform: MemoryConnector, remote_id: str) -> str:
    return platform.pushed[remote_id].fields["text"]


def label_next(service: Service, platform: MemoryConnector, store: Store, count: int = 1) -> None:
    for _ in range(count):
        remote_id = platform.queue()[0]
        tell(service, store, platform.annotate(remote_id, truth(text(platform, remote_id))))
        wait_for(lambda: settled(service, store))


def shown(platform: MemoryConnector) -> list[QueueEntry]:
    return [entry for entry in platform.published[-1][1] if entry.suggestion is not None]


def test_before_the_first_label_there_is_a_queue_and_nothing_is_suggested(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.live_predictions = False
    service = started(make_service, platform)
    assert len(platform.queue()) == 10
    assert not shown(platform)
    assert service.status().state == "idle"


@pytest.mark.parametrize("strategy", ["margin", "margin-diverse", "entropy", "least-sure-span", "mixture", "badge"])
def test_what_is_marked_is_proposed_elsewhere_at_the_right_characters(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, strategy: str
) -> None:
    service = started(make_service, platform, poll_interval=60, strategy=strategy)
    first = platform.queue()
    label_next(service, platform, store, 12)
    audit = {item.remote_id for item in store.records() if item.audit}
    queue = platform.published[-1][1]
    right = 0
    for entry in queue:
        assert (entry.suggestion is None) == (entry.remote_id in audit)
        if entry.suggestion is not None:
            assert entry.suggestion.model_version == service.status().model_version
            assert len(entry.suggestion.scores) == len(entry.suggestion.value)
            assert all(0 < score <= 1 for score in (entry.suggestion.score, *entry.suggestion.scores))
            right += entry.suggestion.value == truth(text(platform, entry.remote_id))
    assert right > len(shown(platform)) / 2
    assert [entry.remote_id for entry in queue] != first


def test_texts_in_doubt_come_first(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    odd = Record("odd", {"text": "quarter to 7 or 8 pm people, for lunch at noon for at 9"})
    store.add_records([odd])
    service = started(make_service, platform, poll_interval=60, audit_share=0.0)
    for remote_id in list(platform.pushed)[:12]:
        tell(service, store, platform.annotate(remote_id, truth(text(platform, remote_id))))
    wait_for(lambda: settled(service, store))
    assert platform.queue()[0] == "r-odd"


def test_live_predictions_are_those_of_the_queue_also_for_texts_never_seen(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    label_next(service, platform, store, 12)
    entry = shown(platform)[0]
    known = platform.pushed[entry.remote_id]
    new = Record("", {"text": "🎉🎉 pour Zoë, a table for 4 people at 9 pm, merci"})
    answers = asyncio.run(service.classify([known, new, Record("", {"text": ""})]))
    assert answers[0] is not None
    assert dict(answers[0].probabilities) == {}
    assert answers[0].suggestion == entry.suggestion
    assert answers[1] is not None
    assert phrases(new.fields["text"], answers[1].suggestion.value) == [("4", "people"), ("9 pm", "time")]
    assert answers[2] is None, "there is nothing to judge"
    audit = next(item.record for item in store.records() if item.audit)
    assert asyncio.run(service.predict([audit])) == [None]


def test_after_a_restart_the_same_model_answers_and_without_its_file_the_log_makes_it_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    ask = [Record("", {"text": "a table for 5 people at 3 pm, thanks"})]
    service = started(make_service, platform, poll_interval=60)
    label_next(service, platform, store, 8)
    before = asyncio.run(service.predict(ask))
    service.stop()
    platform.down = True  # or a model made of the log may be there first, equal but for rounding
    again = make_service()
    again.start()
    assert asyncio.run(again.predict(ask)) == before
    again.stop()
    platform.down = False
    shutil.rmtree(tmp_path / "models")
    last = started(make_service, platform)
    wait_for(lambda: settled(last, store))
    (one,), (other,) = before, asyncio.run(last.predict(ask))
    assert one is not None
    assert other is not None
    assert (other.value, other.model_version) == (one.value, one.model_version)
    assert other.score == pytest.approx(one.score, abs=1e-2)


def test_answers_that_make_no_sense_cost_nobody_the_loop(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    bad: list[Value] = [
        (Span(0, 5, "horse"), Span(0, 4, "people")),
        (Span(400, 500, "people"),),
        (Span(5, 5, "time"), Span(9, 3, "time"), Span(-4, 2, "time")),
        (Span(0, 9, "people"), Span(2, 7, "time"), Span(0, 9, "people")),
        (),
    ]
    for remote_id, value in zip(list(platform.pushed), bad, strict=False):
        tell(service, store, platform.annotate(remote_id, value))
    wait_for(lambda: settled(service, store))
    label_next(service, platform, store, 3)
    assert service.status().labelled == 6
    assert service.status().notice_counts["mark"] == 2
    assert "horse" in service.status().last_error


def test_the_audit_slice_counts_texts_whose_spans_are_all_right(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    for remote_id in list(platform.pushed)[:40]:
        tell(service, store, platform.annotate(remote_id, truth(text(platform, remote_id))))
    wait_for(lambda: settled(service, store))
    status = service.status()
    assert status.audit["n"] == status.audit_labelled > 3
    assert status.audit["low"] <= status.audit["accuracy"] <= status.audit["high"]
    assert status.audit["accuracy"] > 0.5
    assert status.audit["span_f1"] > status.audit["accuracy"] - 0.5
    assert status.label_counts == {"people": 40, "time": 40}


def test_suggestions_are_filled_in_everywhere_once_something_is_known(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.live_predictions = False
    service = started(make_service, platform, poll_interval=60)
    label_next(service, platform, store, 6)
    open_ones = set(platform.pushed) - {one.remote_id for one in platform.answers.values()}
    audit = {item.remote_id for item in store.records() if item.audit}

    def suggested() -> set[str]:
        return {one.remote_id for _, queue in platform.published for one in queue if one.suggestion is not None}

    wait_for(lambda: open_ones - audit <= suggested())
    assert not suggested() & audit


def test_of_two_opinions_that_overlap_the_newer_counts(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.overlap = 2
    service = started(make_service, platform, poll_interval=60)
    remote_id = platform.queue()[0]
    where = text(platform, remote_id).index("for ")
    answers = [((where, where + 5), "ann"), ((where + 4, where + 12), "bob")]
    for (start, end), who in answers:
        tell(service, store, platform.annotate(remote_id, (Span(start, end, "people"),), who))
    wait_for(lambda: settled(service, store))
    pool = service._controller.pool
    at = pool.training() if len(pool.training()) else pool.audited()
    assert pool.targets(at).tolist() == [(Span(where + 4, where + 12, "people"),)]
    assert remote_id not in platform.queue()


def test_the_pool_keeps_spans_as_they_are() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.SPAN, LABELS)))
    pool.add([stored(0), stored(1), stored(2, audit=True)], np.arange(3))
    spans = (Span(0, 3, "people"), Span(4, 6, "time"), Span(7, 9, "time"))

    def answered(remote_id: str, *value: Span) -> list[Annotation]:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        return [Annotation("a", remote_id, "ann", value, AnnotationStatus.SUBMITTED, moment)]

    pool.answer({"r0": answered("r0", *spans), "r2": answered("r2")})
    pool.add([stored(5000)], np.array([7]))  # the table grows
    assert pool.targets(pool.training()).tolist() == [spans]
    assert pool.targets(pool.audited()).tolist() == [()], "nothing to mark is an answer too"
    assert pool.label_counts() == {"people": 1, "time": 2}
    pool.answer({"r0": []})
    assert len(pool.training()) == 0


def test_other_text_fields_are_context(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    platform.labeling = Labeling(LabelKind.SPAN, LABELS, fields=(Field("text"), Field("asked")))
    service = started(make_service, platform)
    found = asyncio.run(service.classify([Record("", {"text": "for 4", "asked": "for how many people?"})]))
    assert found[0] is not None
    assert all(one.end <= 5 for one in found[0].suggestion.value if isinstance(one, Span))


def test_marks_that_mark_nothing_are_told_and_left_out_until_they_do(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, audit_share=0.0)
    remote_id, other = platform.queue()[:2]
    end = len(text(platform, remote_id))
    wrong = platform.annotate(remote_id, (Span(end - 2, end + 9, "time"),))
    tell(service, store, wrong)
    tell(service, store, platform.annotate(other, (*truth(text(platform, other)), Span(3, 3, "time"))))
    wait_for(lambda: settled(service, store))
    status = service.status()
    assert (status.labelled, status.notice_counts) == (1, {"mark": 2})
    assert status.label_counts == {"people": 1, "time": 1}
    told = {one["message"] for one in status.notices}
    assert any(f"of record {remote_id}: the span 'time'" in one and "reaches out" in one for one in told)
    assert any(f"of record {other}: the span 'time' from 3 to 3 is empty" in one for one in told)
    platform.take_back(wrong.id)
    assert service.notify(about(wrong))
    tell(service, store, platform.annotate(remote_id, truth(text(platform, remote_id))))
    wait_for(lambda: service.status().notice_counts == {"mark": 1})
    assert service.status().labelled == 2


def test_blanks_at_the_ends_of_marks_cost_no_figure(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    """As a double click on Windows marks; the model can't even propose it."""
    service = started(make_service, platform, poll_interval=60, audit_share=0.5)
    for remote_id, record in list(platform.pushed.items())[:40]:
        marks = truth(record.fields["text"])
        wider = tuple(Span(one.start - 1, one.end + (one.label == "people"), one.label) for one in marks)
        platform.annotate(remote_id, wider)
    service._want_records()
    wait_for(lambda: service.status().labelled == 40 and settled(service, store))
    row = store.current_model()
    assert row is not None
    assert row.metrics["audit_accuracy"] > 0.5
    assert all(
        entry.suggestion is None
        or all(
            not phrase.startswith(" ") for phrase, _ in phrases(text(platform, entry.remote_id), entry.suggestion.value)
        )
        for entry in platform.published[-1][1]
    )
