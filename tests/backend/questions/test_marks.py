"""What counts of marks: white space at their ends means nothing, and what marks nothing is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nextlabel.backend.questions import question_of
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span, Value

TEXT = "Ann works at  Acme \n now"
SPANS = question_of(Labeling(LabelKind.SPAN, ("PER", "ORG")))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def said(*value: Span, by: str = "ann", hours: int = 0) -> Annotation:
    moment = NOW + timedelta(hours=hours)
    return Annotation(f"a-{by}", "r", by, value, AnnotationStatus.SUBMITTED, moment)


@pytest.mark.parametrize(
    ("start", "end", "counts"),
    [(0, 4, (0, 3)), (12, 21, (14, 18)), (0, 3, (0, 3)), (3, 4, None), (5, 5, None), (9, 4, None), (20, 99, None)],
)
def test_a_mark_counts_without_the_white_space_at_its_ends(
    start: int, end: int, counts: tuple[int, int] | None
) -> None:
    fitted, faults = SPANS.fitted(said(Span(start, end, "PER")), TEXT)
    assert (fitted is None, len(faults)) == (counts is None, counts is None)
    if fitted is not None and counts is not None:
        assert fitted.value == (Span(*counts, "PER"),)


def test_of_an_answer_what_marks_something_counts_and_no_mark_is_an_answer() -> None:
    fitted, faults = SPANS.fitted(said(Span(0, 3, "PER"), Span(14, 99, "ORG")), TEXT)
    assert fitted is not None
    assert fitted.value == (Span(0, 3, "PER"),)
    assert faults == [
        f"the span 'ORG' from 14 to 99 reaches out of a text of {len(TEXT)} characters; offsets count characters, not "
        "bytes"
    ]
    assert SPANS.fitted(said(), TEXT) == (said(), [])


@pytest.mark.parametrize(
    ("answers", "decided"),
    [
        ([said(Span(0, 4, "PER"))], (Span(0, 4, "PER"),)),
        ([said(Span(0, 4, "PER")), said(Span(0, 3, "PER"), by="bob", hours=1)], (Span(0, 3, "PER"),)),
        (  # two say the same in two ways, and outvote the newest
            [
                said(Span(0, 3, "PER")),
                said(Span(0, 4, "PER"), by="bob", hours=1),
                said(Span(0, 9, "PER"), by="cid", hours=2),
            ],
            (Span(0, 4, "PER"),),
        ),
        ([said(Span(0, 3, "PER"), Span(14, 99, "ORG"))], (Span(0, 3, "PER"),)),
        ([said(Span(14, 99, "ORG"))], None),
    ],
    ids=["as marked", "newest wording", "majority", "without what marks nothing", "nothing"],
)
def test_an_export_keeps_what_was_marked(answers: list[Annotation], decided: Value | None) -> None:
    assert SPANS.as_given(answers, TEXT) == decided


def test_other_answers_count_as_they_are() -> None:
    question = question_of(Labeling(LabelKind.SINGLE, ("a", "b")))
    one = replace(said(), value=("a",))
    assert question.fitted(one, "") == (one, [])
    assert question.as_given([one], "") == ("a",)
