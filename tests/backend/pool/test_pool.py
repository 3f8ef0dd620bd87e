"""The pool in memory follows the store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.ranking import alternate
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Record, Span

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(position: int, **changes: object) -> StoredRecord:
    values: dict[str, object] = {
        "position": position,
        "record": Record(f"u{position}", {"text": "x"}),
        "remote_id": f"r{position}",
        "duplicate_of": None,
        "lot": position / 10,
        "audit": False,
        "gone": False,
    }
    return StoredRecord(**{**values, **changes})  # type: ignore[arg-type]


def answer(
    remote_id: str, *labels: Any, status: AnnotationStatus = AnnotationStatus.SUBMITTED, by: str = "ann"
) -> Annotation:
    return Annotation(f"a-{remote_id}-{labels}-{by}", remote_id, by, labels, status, NOW)


@pytest.fixture
def pool() -> PoolState:
    state = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    items = [
        stored(0),
        stored(1, audit=True, lot=0.9),
        stored(2, audit=True, lot=0.1),
        stored(3, duplicate_of="u0", remote_id=None),
        stored(4, gone=True),
        stored(5, remote_id=None),
    ]
    state.add(items, np.arange(6))
    return state


def test_candidates_leave_out_audit_duplicates_and_the_deleted(pool: PoolState) -> None:
    assert pool.candidates().tolist() == [0, 5]
    assert pool.is_pushed(pool.candidates()).tolist() == [True, False]


def test_the_audit_slice_waits_in_the_order_of_its_lots(pool: PoolState) -> None:
    assert pool.audit_queue().tolist() == [2, 1]


def test_answers_move_records_and_taking_them_back_moves_them_back(pool: PoolState) -> None:
    assert pool.answer({"r0": [answer("r0", "dog")], "r1": [answer("r1", "cat")]}) == []
    assert pool.training().tolist() == [0]
    assert pool.targets(pool.training()).tolist() == [1]
    assert pool.audited().tolist() == [1]
    assert pool.candidates().tolist() == [5]
    assert pool.label_counts() == {"cat": 1, "dog": 1}
    pool.answer({"r0": []})
    assert pool.training().tolist() == []
    assert pool.candidates().tolist() == [0, 5]


def test_unknown_records_and_unknown_labels_are_reported(pool: PoolState) -> None:
    assert pool.answer({"stranger": [answer("stranger", "cat")], "r0": [answer("r0", "horse")]}) == ["stranger"]
    assert pool.unknown_labels == {"horse": 1}
    assert pool.training().tolist() == []
    assert 0 not in pool.candidates()  # answered all the same


def test_an_unknown_label_is_told_until_the_answer_is_changed(pool: PoolState) -> None:
    pool.answer({"r0": [answer("r0", "horse")]})
    pool.answer({"r0": [answer("r0", "horse")]})  # told twice, by a webhook and by a poll
    assert pool.unknown_labels == {"horse": 1}
    pool.answer({"r0": [answer("r0", "dog")]})
    assert pool.unknown_labels == {}
    assert pool.training().tolist() == [0]


def test_what_answers_another_kind_of_question_is_not_learned(pool: PoolState) -> None:
    """From when any number of labels could be given, or spans were marked, under the same name."""
    pool.answer({"r0": [answer("r0", "cat", "dog")]})
    assert pool.training().tolist() == []
    span = answer("r0", Span(0, 3, "cat"))
    pool.answer({"r0": [span]})
    assert pool.training().tolist() == []
    assert 0 not in pool.candidates()  # answered all the same
    spans = PoolState(question_of(Labeling(LabelKind.SPAN, ("cat", "dog"))))
    spans.add([stored(0), stored(1), stored(2)], np.arange(3))
    spans.answer({"r0": [answer("r0", "cat")], "r1": [span], "r2": [answer("r2")]})
    assert spans.training().tolist() == [1, 2]
    assert spans.targets(spans.training()).tolist() == [(Span(0, 3, "cat"),), ()]


def test_several_labels_none_of_which_is_known_say_nothing() -> None:
    """A label that was renamed is not "none of them"."""
    pool = PoolState(question_of(Labeling(LabelKind.MULTI, ("a", "b"))))
    pool.add([stored(at) for at in range(3)], np.arange(3))
    pool.answer({"r0": [answer("r0", "old")], "r1": [answer("r1", "old", "b")], "r2": [answer("r2")]})
    assert pool.training().tolist() == [1, 2]
    assert pool.targets(pool.training()).tolist() == [[False, True], [False, False]]
    assert len(pool.opinions(np.arange(3))) == 2
    assert pool.unknown_labels == {"old": 2}


def test_skipped_records_wait_behind_everything(pool: PoolState) -> None:
    pool.answer({"r0": [answer("r0", status=AnnotationStatus.SKIPPED)]})
    assert pool.candidates().tolist() == [5]
    assert pool.left_over().tolist() == [0]


def test_dropped_records_leave_and_later_records_join(pool: PoolState) -> None:
    before = pool.revision
    pool.drop(["r0", "never heard of"])
    assert pool.candidates().tolist() == [5]
    pool.add([stored(2000)], np.array([7]))
    assert pool.candidates().tolist() == [5, 2000]
    assert pool.rows[2000] == 7
    assert pool.revision > before
    assert len(pool) == 2001


def test_multi_label_targets_are_rows_of_flags() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.MULTI, ("a", "b", "c"))))
    pool.add([stored(0), stored(1)], np.arange(2))
    pool.answer({"r0": [answer("r0", "a", "c")], "r1": [answer("r1")]})
    assert pool.training().tolist() == [0, 1]  # "none of them" is an answer too
    assert pool.targets(pool.training()).tolist() == [[True, False, True], [False, False, False]]


def test_a_record_that_somebody_began_is_nobodys_candidate(pool: PoolState) -> None:
    draft = AnnotationStatus.DRAFT
    pool.answer({"r0": [answer("r0", "cat", status=draft)], "r1": [answer("r1", status=draft)]})
    assert pool.candidates().tolist() == [5]
    assert pool.audit_queue().tolist() == [2]
    assert pool.training().tolist() == []
    assert pool.unsuggested().tolist() == []
    pool.answer({"r0": [answer("r0", "cat")], "r1": []})  # submitted; given up
    assert pool.training().tolist() == [0]
    assert pool.audit_queue().tolist() == [2, 1]


def test_a_record_asked_about_again_waits_for_another_annotator(pool: PoolState) -> None:
    pool.answer({"r0": [answer("r0", "cat")]})
    before = pool.revision
    pool.ask_again(np.array([0]), 2)
    assert pool.revision > before
    assert pool.asked_again().tolist() == [0]
    assert 0 not in pool.candidates()  # it has its own places
    assert pool.is_blind(np.array([0, 1, 5])).tolist() == [True, True, False]
    assert pool.training().tolist() == [0]  # the first answer counts meanwhile
    pool.answer({"r0": [answer("r0", "cat"), answer("r0", "dog")]})  # both by the same person
    assert pool.asked_again().tolist() == [0]
    pool.answer({"r0": [answer("r0", "cat"), answer("r0", "dog", by="bob")]})
    assert pool.asked_again().tolist() == []
    before = pool.revision
    pool.ask_again(np.array([0]), 2)
    assert pool.revision == before, "no news"


def test_asking_for_fewer_opinions_takes_none_back(pool: PoolState) -> None:
    pool.ask_again(np.array([0]), 3)
    pool.ask_again(np.array([0]), 2)
    pool.answer({"r0": [answer("r0", "cat"), answer("r0", "dog", by="bob")]})
    assert pool.asked_again().tolist() == [0]


def test_what_the_store_knows_is_taken_over() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    pool.add([stored(0, opinions=2), stored(1, suggested=True), stored(2), stored(3)], np.arange(4))
    assert pool.asked_again().tolist() == [0]
    assert pool.unsuggested().tolist() == [3, 2]  # newest first


def test_each_suggestion_is_news_once(pool: PoolState) -> None:
    assert pool.unsuggested().tolist() == [0]  # on the platform, open, and not for the audit
    assert pool.note_suggested(["r0", "stranger"]) == [0]
    assert pool.note_suggested(["r0"]) == []
    assert pool.unsuggested().tolist() == []


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [([1, 2], [7, 8, 9], [1, 7, 2, 8, 9]), ([1, 2, 3], [7], [1, 7, 2, 3]), ([], [7, 8], [7, 8]), ([1], [], [1])],
)
def test_every_other_place_while_there_are_any(first: list[int], second: list[int], merged: list[int]) -> None:
    got = alternate(np.array(first, dtype=np.int64), np.array(second, dtype=np.int64))
    assert got.tolist() == merged
    assert got.dtype == np.int64


def test_what_is_on_a_page_already_is_nobodys_candidate(pool: PoolState) -> None:
    pool.hold(["r0", "r2", "a record of others"])
    assert (pool.candidates().tolist(), pool.audit_queue().tolist()) == ([5], [1])
    pool.hold(["r0"])
    assert (pool.candidates().tolist(), pool.audit_queue().tolist()) == ([5], [2, 1])
    pool.hold([])
    assert pool.candidates().tolist() == [0, 5]


# -- copies that the platform has by themselves ------------------------------------------------------------------------


@pytest.fixture
def copies() -> PoolState:
    """Records 0, 2 and 3 have one text, 1 another; 4 is a copy of it that the platform lacks."""
    state = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    same = {"lot": 0.5, "duplicate_of": "u0"}
    items = [
        stored(0, lot=0.5),
        stored(1),
        stored(2, **same),
        stored(3, **same),
        stored(4, lot=0.1, duplicate_of="u1", remote_id=None),
    ]
    state.add(items, np.arange(5))
    return state


def give(pool: PoolState, **answers: Any) -> None:
    """The answers of these records, with those of their copies, as the loop reads them from the store."""
    pool.answer(answers | dict.fromkeys(pool.companions(answers) - answers.keys(), ()))


def test_copies_are_answered_apart_and_learned_once(copies: PoolState) -> None:
    assert copies.candidates().tolist() == [0, 1, 2, 3]
    assert copies.companions(["r2"]) == {"r0", "r2", "r3"}
    assert copies.companions(["r1"]) == {"r0", "r2", "r3"}, "they are news as long as nothing was asked of them"
    give(copies, r2=[answer("r2", "dog")])
    assert copies.companions(["r1"]) == set()
    assert copies.training().tolist() == [2]
    assert copies.candidates().tolist() == [0, 1, 3]
    everybody = [answer("r3", "cat", by=name) for name in "abc"]
    give(copies, r2=[answer("r2", "dog")], r3=everybody)
    assert copies.training().tolist() == [2]
    assert copies.targets(copies.training()).tolist() == [0], "three say cat, one says dog"
    assert copies.opinions(copies.training()).per_record.tolist() == [4]
    assert copies.counts()["labelled"] == 2


def test_a_copy_that_is_gone_says_nothing_more(copies: PoolState) -> None:
    answers = {"r0": [answer("r0", "cat")], "r2": [answer("r2", "dog")], "r3": [answer("r3", "dog")]}
    give(copies, **answers)
    assert copies.targets(copies.training()).tolist() == [1]
    copies.drop(["r2", "r3"])
    left = copies.companions([])
    assert left == {"r0"}
    copies.answer({name: answers[name] for name in left})
    assert copies.training().tolist() == [0]
    assert copies.targets(copies.training()).tolist() == [0]


def test_copies_of_the_audit_slice_are_audited_once() -> None:
    state = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    state.add([stored(0, audit=True, lot=0.1), stored(1, audit=True, lot=0.1, duplicate_of="u0")], np.arange(2))
    state.add([stored(2, held_out=True)], np.arange(2, 3))
    give(state, r0=[answer("r0", "cat")], r1=[answer("r1", "cat")], r2=[answer("r2", "dog")])
    assert (state.audited().tolist(), state.held_out().tolist(), state.training().tolist()) == ([0], [2], [])
    assert (state.counts()["audited"], state.counts()["held_out"]) == (2, 1)


def test_a_record_with_nothing_to_judge_gets_no_suggestion() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    pool.add([stored(0), stored(1, record=Record("u1", {"text": " \n"})), stored(2)], np.arange(3))
    assert pool.unsuggested().tolist() == [2, 0]
    assert pool.is_blind(np.arange(3)).tolist() == [False, True, False]
    assert 1 in pool.candidates(), "people may still answer it"
    pool.add([stored(1)], np.array([1]))  # corrected on the platform
    assert pool.unsuggested().tolist() == [2, 1, 0]
