"""Texts by the span that a model is least sure of."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.selection import LeastSureSpan, Margin, Pool, Spans, get_strategy, weighs_spans
from nextlabel.connectors.errors import SelectionError

RECORDS, LABELS = np.array([0, 0, 1, 3, 3]), np.array([0, 1, 0, 1, 1])
SCORES = np.array([0.9, 0.2, 0.6, 0.5, 0.7], dtype=np.float32)
DOUBTS = np.array([0.01, 0.01, 0.3, 0.1, 0.6], dtype=np.float32)
SURE = np.stack([1 - DOUBTS / 2, DOUBTS / 2], axis=1).astype(np.float32)
POOL = Pool(SURE, spans=Spans(RECORDS, LABELS, SCORES))


def test_the_least_sure_span_of_a_text_decides() -> None:
    scores = LeastSureSpan().score(POOL)
    assert scores[[0, 1, 3]].tolist() == pytest.approx([0.8, 0.4, 0.5])
    assert LeastSureSpan().query(POOL, 5, np.random.default_rng(0)).tolist() == [0, 3, 1, 4, 2]


def test_labels_that_do_not_count_are_as_if_not_there() -> None:
    chosen = LeastSureSpan(labels=(0,)).query(POOL, 5, np.random.default_rng(0)).tolist()
    assert chosen == [1, 0, 4, 2, 3]


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("least-sure-span", {}, True),
        ("margin", {}, False),
        ("mixture", {"shares": {"margin": 1, "least-sure-span": 1}}, True),
        ("schedule", {"stages": {0: "random", 9: "least-sure-span"}}, True),
        ("schedule", {"stages": {0: "random", 9: "margin"}}, False),
    ],
)
def test_whoever_builds_a_pool_learns_if_it_needs_spans(name: str, options: dict[str, object], wanted: bool) -> None:
    assert weighs_spans(get_strategy(name, **options)) is wanted


def test_margin_goes_by_the_doubt_about_the_whole_text() -> None:
    assert Margin().score(POOL) == pytest.approx(DOUBTS)


def test_other_questions_have_no_spans() -> None:
    with pytest.raises(SelectionError, match="choose margin"):
        LeastSureSpan().score(Pool(SURE))


def test_a_part_of_a_pool_keeps_its_own_spans() -> None:
    part = POOL.only(np.array([3, 2, 0]))
    assert part.spans is not None
    assert LeastSureSpan().score(part) == pytest.approx(LeastSureSpan().score(POOL)[[3, 2, 0]])


def test_spans_outside_the_pool_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 2 records"):
        Pool(SURE[:2], spans=Spans(RECORDS, LABELS, SCORES))
