"""What a record's annotators say together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nextlabel.backend.questions import question_of
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span

SINGLE = Labeling(LabelKind.SINGLE, ("a", "b", "c"))
MULTI = Labeling(LabelKind.MULTI, ("a", "b", "c"))
SPANS = Labeling(LabelKind.SPAN, ("a",))


def answers(*values, who=None, status=AnnotationStatus.SUBMITTED):
    """One answer a value, a minute apart, by different people unless ``who`` says otherwise."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Annotation(str(i), "7", who or f"user {i}", value, status, start + timedelta(minutes=i))
        for i, value in enumerate(values)
    ]


def test_nobody_has_answered():
    assert question_of(SINGLE).consensus([]) is None
    assert question_of(SINGLE).consensus(answers(("a",), status=AnnotationStatus.SKIPPED)) is None
    assert question_of(SINGLE).consensus(answers(("a",), status=AnnotationStatus.DRAFT)) is None


def test_the_majority_wins_in_any_order():
    given = answers(("a",), ("a",), ("b",))
    assert question_of(SINGLE).consensus(given) == ("a",)
    assert question_of(SINGLE).consensus(given[::-1]) == ("a",)


def test_skips_have_no_vote():
    given = answers(("a",)) + answers((), (), status=AnnotationStatus.SKIPPED)
    assert question_of(SINGLE).consensus(given) == ("a",)


def test_what_is_marked_as_the_truth_settles_it():
    truth, *others = answers(("a",), ("b",), ("b",))
    assert question_of(SINGLE).consensus([replace(truth, is_truth=True), *others]) == ("a",)
    skipped = replace(truth, is_truth=True, status=AnnotationStatus.SKIPPED)
    assert question_of(SINGLE).consensus([skipped, *others]) == ("b",)
    spans = answers((Span(0, 3, "a"),), (), ())
    assert question_of(SPANS).consensus([replace(spans[0], is_truth=True), *spans[1:]]) == (Span(0, 3, "a"),)


def test_a_tie_goes_to_the_newest():
    given = answers(("a",), ("b",), ("b",), ("a",), ("c",))
    assert question_of(SINGLE).consensus(given) == ("a",)
    assert question_of(SINGLE).consensus(answers(("a",), ("b",))) == ("b",)
    assert question_of(SINGLE).consensus(answers(("b",), ("a",))[::-1]) == ("a",)


def test_at_equal_times_the_greater_id_is_newer():
    one, other = answers(("a",), ("b",))
    same = Annotation("0", "7", "user 0", ("a",), one.status, other.updated_at)
    assert question_of(SINGLE).consensus([same, other]) == question_of(SINGLE).consensus([other, same]) == ("b",)


def test_everyone_has_one_vote():
    given = [*answers(("a",), ("a",), ("c",), who="eager"), *answers(("b",), ("b",))]
    assert question_of(SINGLE).consensus(given) == ("b",)
    assert question_of(SINGLE).consensus(answers(("a",), ("b",), who="second thoughts")) == ("b",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([("a", "b"), ("a",), ("a", "c")], ("a",)),
        ([("b", "a"), ("a", "b")], ("a", "b")),
        ([("a",), ("b",), ("c",)], ()),
        ([("a", "b"), ("b", "c")], ("b", "c")),  # even votes on a and c: the newest decides
        ([()], ()),
    ],
)
def test_multi_label_votes_label_by_label(values, expected):
    assert question_of(MULTI).consensus(answers(*values)) == expected


def test_spans_are_equal_whatever_their_order():
    first, second = Span(0, 4, "a"), Span(9, 12, "a")
    given = answers((first, second), (first,), (second, first))
    assert question_of(SPANS).consensus(given) == (first, second)
