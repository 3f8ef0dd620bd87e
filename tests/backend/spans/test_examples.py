"""Texts with spans: what is refused, and what becomes of overlaps."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.data.span_examples import SpanExamples, split_held_out
from nextlabel.connectors.content import Content
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span


def one(*spans: Span, text: str = "a b c d e") -> SpanExamples:
    return SpanExamples((text,), (spans,), ("x", "y"))


@pytest.mark.parametrize(
    ("span", "says"),
    [
        (Span(3, 3, "x"), "is empty"),
        (Span(4, 2, "x"), "reaches out"),
        (Span(-1, 2, "x"), "reaches out"),
        (Span(8, 10, "x"), "reaches out of a text of 9 characters"),
        (Span(0, 1, "z"), "none of x, y"),
    ],
)
def test_impossible_spans_are_refused(span: Span, says: str) -> None:
    with pytest.raises(LearningError, match=f"text 0: the span .*{says}"):
        one(span)


def test_columns_must_be_equally_long() -> None:
    with pytest.raises(LearningError, match="1 texts don't go with 2 spans"):
        SpanExamples(("a",), ((), ()), ("x",))
    with pytest.raises(LearningError, match="1 texts don't go with 2 groups"):
        SpanExamples(("a",), ((),), ("x",), np.array([1, 2]))


def test_of_overlapping_spans_the_longer_stays() -> None:
    kept, dropped = one(
        Span(0, 3, "x"), Span(2, 7, "y"), Span(7, 9, "x"), Span(7, 9, "y"), Span(4, 5, "x")
    ).without_overlaps()
    assert kept.spans == ((Span(2, 7, "y"), Span(7, 9, "x")),)
    assert dropped == 3
    assert one(Span(0, 3, "x"), Span(3, 5, "y")).without_overlaps()[1] == 0  # touching is no overlap


def test_taking_rows_takes_all_columns() -> None:
    texts = tuple(Content(text, context=context) for text, context in ("ap", "bq", "cr"))
    whole = SpanExamples(texts, ((Span(0, 1, "x"),), (), ()), ("x",), np.array([1, 2, 3]))
    part = whole.take([2, 0])
    assert (part.texts, part.spans) == ((texts[2], texts[0]), ((), (Span(0, 1, "x"),)))
    assert part.groups is not None
    assert part.groups.tolist() == [3, 1]
    assert (len(part), part.count) == (2, 1)


def test_holding_out_spreads_labels_and_keeps_groups() -> None:
    spans = [(Span(0, 1, "xy"[n % 10 == 0]),) for n in range(200)]
    groups = np.arange(200) // 2
    whole = SpanExamples(tuple(f"a{n}" for n in range(200)), tuple(spans), ("x", "y"), groups)
    train, held = split_held_out(whole, 0.2, np.random.default_rng(0))
    assert len(held) == pytest.approx(40, abs=2)
    assert sum(span[0].label == "y" for span in held.spans) == pytest.approx(4, abs=1)
    assert train.groups is not None
    assert held.groups is not None
    assert not set(train.groups.tolist()) & set(held.groups.tolist())


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_holding_out_from_too_few_is_refused(share: float) -> None:
    with pytest.raises(LearningError, match="can't be split"):
        split_held_out(one(), share, np.random.default_rng(0))
