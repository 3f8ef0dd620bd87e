"""How well spans are found, and how far to trust that.

A span counts as found if start, end and label are all right (as CoNLL counts; Tjong Kim Sang & De Meulder, 2003).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.intervals import (
    LEVEL,
    NOTHING,
    Counts,
    Interval,
    Scores,
    interval_of,
    leave_out,
    ratio,
    units_of,
)
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

from .decoding import ScoredSpan

SpanLists: TypeAlias = Sequence[Sequence[Span | ScoredSpan]]
"""The spans of some texts."""


def span_f1(predicted: SpanLists, true: SpanLists) -> float:
    """Micro F1 of exact matches; 1.0 when there is nothing to find and nothing was said."""
    found, said, answered = span_counts(predicted, true).sum(axis=0)
    return float(2 * found / (said + answered)) if said + answered else 1.0


def span_interval(predicted: SpanLists, true: SpanLists, *, level: float = LEVEL) -> Interval:
    """The same with its interval; texts are the units of it, since spans of one text are not independent.

    All nan when there is nothing to find and nothing was said; from 0 to 1 where that holds for all but a few
    texts, too few to say more. Raises LearningError if the numbers of texts differ.
    """
    return runs_interval([predicted], true, level=level)


def runs_interval(
    runs: Sequence[SpanLists],
    true: SpanLists,
    *,
    groups: npt.NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> Interval:
    """The mean of several predictions of the same texts; texts of one of ``groups`` int64 [n] are one unit."""
    counts = [span_counts(one, true) for one in runs]
    bearing = np.any([one[:, 1:].any(axis=1) for one in counts], axis=0)
    if not bearing.any():
        return NOTHING
    codes = units_of(groups, len(true))
    score = partial(micro_f1, counts)
    whole, units = score(np.ones((1, len(true)))), np.array([len(np.unique(codes[bearing]))])
    found = interval_of(whole[0], leave_out(score, codes), units, level)
    return found if found.told else Interval(found.mean, 0.0, 1.0)


def micro_f1(runs: Sequence[npt.NDArray[np.int64]], drawn: Counts) -> Scores:
    """float64 [b, 1]: micro F1 with each text as often as ``drawn`` [b, n] says, the mean over ``runs``."""
    totals = [drawn @ one for one in runs]
    scores = [ratio(2 * one[:, :1], one[:, 1:].sum(axis=1, keepdims=True)) for one in totals]
    return np.asarray(np.mean(scores, axis=0), np.float64)


def all_right(predicted: SpanLists, true: SpanLists) -> npt.NDArray[np.bool_]:
    """Whether the spans predicted in each text are exactly those of its answer, bool [n]."""
    pairs = zip(_keys(predicted), _keys(true), strict=True)
    return np.array([one.keys() == other.keys() for one, other in pairs], dtype=np.bool_)


def span_counts(predicted: SpanLists, true: SpanLists) -> npt.NDArray[np.int64]:
    """How many spans were found, were predicted and are there, of each text: int64 [n, 3]."""
    if len(predicted) != len(true):
        raise LearningError(f"predictions for {len(predicted)} texts don't go with answers to {len(true)}")
    pairs = zip(_keys(predicted), _keys(true), strict=True)
    counts = [((one & other).total(), one.total(), other.total()) for one, other in pairs]
    return np.array(counts, np.int64).reshape(-1, 3)


def _keys(texts: SpanLists) -> list[Counter[tuple[int, int, str]]]:
    return [Counter((span.start, span.end, span.label) for span in spans) for spans in texts]
