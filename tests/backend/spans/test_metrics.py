"""Span figures, held against counts made by hand and against seqeval's definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.span_report import span_report
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

TRUE = [(Span(0, 3, "a"), Span(5, 9, "b")), (Span(0, 2, "a"),), (), (Span(1, 4, "b"),)]
SAID = [(Span(0, 3, "a"), Span(5, 8, "b")), (Span(0, 2, "b"),), (Span(0, 1, "a"),), (Span(1, 4, "b"),)]


def test_exact_partial_and_by_label() -> None:
    report = span_report(SAID, TRUE)
    assert (report.micro.precision, report.micro.recall, report.micro.support) == (2 / 5, 2 / 4, 4)
    assert report.micro.f1 == pytest.approx(4 / 9)
    assert report.by_label["a"].f1 == pytest.approx(2 / 4)
    assert report.by_label["b"].f1 == pytest.approx(2 / 5)
    assert report.macro_f1 == pytest.approx((2 / 4 + 2 / 5) / 2)
    assert report.partial.f1 == pytest.approx(6 / 9)  # 5 to 8 counts for 5 to 9
    assert report.low <= report.micro.f1 <= report.high
    assert report.texts == 4
    assert span_f1(SAID, TRUE) == pytest.approx(report.micro.f1)


def test_each_span_is_matched_once() -> None:
    true, said = [(Span(0, 10, "a"),)], [(Span(0, 4, "a"), Span(6, 10, "a"))]
    assert span_report(said, true).partial.precision == 0.5
    doubled = [(Span(0, 10, "a"), Span(0, 10, "a"))]
    assert span_report(doubled, true).micro.precision == 0.5
    assert span_f1(doubled, true) == pytest.approx(2 / 3)


def test_matching_leaves_no_pair_that_could_have_been() -> None:
    true = [(Span(0, 9, "a"), Span(0, 2, "a"))]
    said = [(Span(1, 2, "a"), Span(5, 6, "a"))]
    assert span_report(said, true).partial.f1 == 1.0


def test_nothing_to_find() -> None:
    report = span_report([(), ()], [(), ()])
    assert math.isnan(report.micro.f1)
    assert math.isnan(report.macro_f1)
    assert math.isnan(report.low)
    assert span_f1([(), ()], [(), ()]) == 1.0
    assert span_f1([(Span(0, 1, "a"),)], [()]) == 0.0


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):  # precision and recall are both 0.7 in truth
        true = [(Span(0, 1, "a"),)] * 150
        said = [(Span(0, 1, "a"),) if rng.random() < 0.7 else (Span(2, 3, "a"),) for _ in range(150)]
        report = span_report(said, true)
        hits += report.low <= 0.7 <= report.high
    assert 88 <= hits <= 100


def test_numbers_of_texts_must_agree() -> None:
    with pytest.raises(LearningError, match="predictions for 1 texts don't go with answers to 2"):
        span_report([()], [(), ()])
