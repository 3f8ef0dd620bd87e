"""The pool knows who said what, and what answered records are taken to be."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.annotators.consensus import Agreed
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.connectors.records import AnnotationStatus, Labeling, LabelKind, Span
from tests.backend.pool.test_pool import answer, stored

AUDITED = 3


@pytest.fixture
def pool() -> PoolState:
    state = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    state.add([stored(n, audit=n == AUDITED) for n in range(6)], np.arange(6))
    return state


def said(pool: PoolState, *positions: int) -> set[tuple[int, str, str]]:
    """(position, annotator, label) of all that the pool gives for ``positions``."""
    found = pool.opinions(np.array(positions, dtype=np.int64))
    rows = zip(found.record.tolist(), found.annotator.tolist(), found.label.tolist(), strict=True)
    return {(positions[at], found.annotators[who], found.labels[label]) for at, who, label in rows}


def test_who_said_what_comes_back_for_the_positions_asked_for(pool: PoolState) -> None:
    pool.answer({"r0": [answer("r0", "dog", by="zoe"), answer("r0", "cat", by="ann")], "r4": [answer("r4", "dog")]})
    pool.answer({"r3": [answer("r3", "cat", by="eve")]})
    assert said(pool, 4, 0, 1) == {(0, "zoe", "dog"), (0, "ann", "cat"), (4, "ann", "dog")}
    assert said(pool, *pool.training()) == said(pool, 4, 0, 1)  # the audit slice apart
    assert said(pool, *pool.audited()) == {(3, "eve", "cat")}
    assert pool.people() == 3


def test_the_same_answers_make_the_same_numbers_in_whatever_order_they_came(pool: PoolState) -> None:
    given = {f"r{n}": [answer(f"r{n}", "cat", by=who) for who in ("zoe", "ann")[: n + 1]] for n in (0, 1)}
    pool.answer(given)
    first = pool.opinions(pool.training())
    other = PoolState(pool.question)
    other.add([stored(n) for n in range(2)], np.arange(2))
    for name in ("r1", "r0"):
        other.answer({name: given[name][::-1]})
    second = other.opinions(other.training())
    assert (first.annotators, second.annotators) == (("ann", "zoe"),) * 2
    for column in ("record", "annotator", "label"):
        assert getattr(first, column).tolist() == getattr(second, column).tolist()


def test_skips_drafts_and_labels_of_others_are_no_opinions(pool: PoolState) -> None:
    statuses = AnnotationStatus.SKIPPED, AnnotationStatus.DRAFT
    others = [answer("r0", "dog", by=f"p{n}", status=status) for n, status in enumerate(statuses)]
    pool.answer({"r0": [answer("r0", "cat"), *others], "r1": [answer("r1", "horse")]})
    assert said(pool, 0, 1) == {(0, "ann", "cat")}
    assert pool.people() == 1


def test_changed_and_withdrawn_answers_leave_nothing_behind(pool: PoolState) -> None:
    for label in ("cat", "dog") * 200:
        pool.answer({"r0": [answer("r0", label), answer("r0", "cat", by="bob")]})
    assert said(pool, 0) == {(0, "ann", "dog"), (0, "bob", "cat")}
    assert len(pool._answers._table) <= 64  # as much memory as answers need
    pool.answer({"r0": [answer("r0", "cat", by="bob")]})
    assert said(pool, 0) == {(0, "bob", "cat")}
    assert pool.people() == 1
    pool.answer({"r0": []})
    assert said(pool, 0) == set()
    assert pool.people() == 0


def test_other_vectors_and_deleted_records_change_no_opinion(pool: PoolState) -> None:
    pool.answer({f"r{n}": [answer(f"r{n}", "cat", by=f"p{n}")] for n in range(3)})
    pool.set_rows(np.arange(6)[::-1].copy())
    pool.drop(["r1"])
    assert said(pool, *pool.training()) == {(0, "p0", "cat"), (2, "p2", "cat")}
    pool.add([stored(900)], np.array([7]))
    pool.answer({"r900": [answer("r900", "dog")]})
    assert said(pool, *pool.training()) == {(0, "p0", "cat"), (2, "p2", "cat"), (900, "ann", "dog")}


def test_many_answers_stay_apart(pool: PoolState) -> None:
    pool.add([stored(n) for n in range(6, 500)], np.arange(6, 500))
    expected = {(n, f"p{n % 7 + m}", ("cat", "dog")[(n + m) % 2]) for n in range(6, 500) for m in range(n % 3)}
    for at in range(6, 500):
        pool.answer({f"r{at}": [answer(f"r{at}", label, by=who) for n, who, label in expected if n == at]})
    assert said(pool, *range(500)) == expected


def test_several_labels_are_flags_and_none_is_an_answer() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.MULTI, ("a", "b", "c"))))
    pool.add([stored(0), stored(1)], np.arange(2))
    pool.answer({"r0": [answer("r0", "c", "a"), answer("r0", by="bob")], "r1": [answer("r1", "b", "horse")]})
    found = pool.opinions(pool.training())
    assert found.label.tolist() == [[True, False, True], [False, False, False], [False, True, False]]
    assert (found.record.tolist(), found.annotators) == ([0, 0, 1], ("ann", "bob"))


def test_spans_are_not_kept() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.SPAN, ("a",))))
    pool.add([stored(0)], np.arange(1))
    pool.answer({"r0": [answer("r0", Span(0, 1, "a"))]})
    assert pool.training().tolist() == [0]
    assert (pool.people(), len(pool._answers._table)) == (0, 0)


def test_what_was_agreed_holds_until_an_answer_or_the_vectors_change(pool: PoolState) -> None:
    given = {f"r{n}": [answer(f"r{n}", "cat")] for n in (0, 2, 3)}
    agreed = Agreed(np.array([0, 2]), np.array([1, 0]), np.array([[0.3, 0.7], [0.6, 0.4]]))
    pool.answer(given)
    pool.agreed = agreed
    assert pool.targets(np.array([2, 3, 0, 1])).tolist() == [0, 0, 1, -1]
    assert pool.learned_targets(pool.training()).tolist() == [[0.3, 0.7], [0.6, 0.4]]
    assert pool.label_counts() == {"cat": 2, "dog": 1}
    pool.answer({"stranger": [answer("stranger", "cat")]})
    assert pool.agreed is agreed
    pool.set_rows(np.arange(6))
    assert pool.targets(pool.training()).tolist() == [0, 0]
    pool.agreed = Agreed(agreed.positions, agreed.targets)
    assert pool.learned_targets(pool.training()).tolist() == [1, 0]
    pool.answer({"r5": [answer("r5", "dog")]})
    assert pool.learned_targets(pool.training()).tolist() == [0, 0, 1]
