"""Precision, recall and F1 of spans, by label, and a milder figure than the exact one.

A span counts as found if start, end and label are all right (as CoNLL counts; Tjong Kim Sang & De Meulder, 2003).
The second, milder figure wants the label and one character in common, each span matched once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.backend.models.spans.metrics import SpanLists, span_interval


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1; nan where there is nothing to divide by. ``support`` counts true spans."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class SpanReport:
    """Figures over some texts. ``low`` and ``high`` bound the micro F1 at the level asked for.

    ``macro_f1`` is the mean over the labels that occur in the answers or in the predictions.
    """

    texts: int
    micro: Score
    macro_f1: float
    partial: Score
    by_label: dict[str, Score]
    low: float
    high: float


def span_report(predicted: SpanLists, true: SpanLists, *, level: float = 0.95) -> SpanReport:
    """Hold ``predicted`` against ``true`` spans, text by text. Raises LearningError if the numbers of texts differ."""
    interval = span_interval(predicted, true, level=level)
    labels = sorted({span.label for spans in (*predicted, *true) for span in spans})
    exact = np.zeros((len(true), len(labels), 3), np.int64)  # found, predicted, true
    partial = np.zeros_like(exact)
    for row, (said, answers) in enumerate(zip(predicted, true, strict=True)):
        for column, label in enumerate(labels):
            mine = [(span.start, span.end) for span in said if span.label == label]
            theirs = [(span.start, span.end) for span in answers if span.label == label]
            exact[row, column] = sum((Counter(mine) & Counter(theirs)).values()), len(mine), len(theirs)
            partial[row, column] = _touching(mine, theirs), len(mine), len(theirs)
    by_label = {label: _score(exact[:, column].sum(axis=0)) for column, label in enumerate(labels)}
    return SpanReport(
        texts=len(true),
        micro=_score(exact.sum(axis=(0, 1))),
        macro_f1=float(np.mean([score.f1 for score in by_label.values()])) if labels else float("nan"),
        partial=_score(partial.sum(axis=(0, 1))),
        by_label=by_label,
        low=interval.low,
        high=interval.high,
    )


def _touching(mine: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> int:
    """How many pairs share a character, each span in one pair at most: from left to right, the earliest end first."""
    left = sorted(theirs, key=lambda span: (span[1], span[0]))
    found = 0
    for start, end in sorted(mine, key=lambda span: (span[1], span[0])):
        match = next((span for span in left if span[0] < end and start < span[1]), None)
        if match is not None:
            left.remove(match)
            found += 1
    return found


def _score(counts: npt.NDArray[np.int64]) -> Score:
    found, said, true = (int(count) for count in counts)
    nothing = float("nan")
    return Score(
        precision=found / said if said else nothing,
        recall=found / true if true else nothing,
        f1=2 * found / (said + true) if said + true else nothing,
        support=true,
    )
