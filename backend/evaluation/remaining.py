"""How many records of a rare class are still to be found, and figures at the share that the class really has.

What a strategy chose says nothing about the rest: it chose because it expected positives. The audit slice is a uniform
sample of the pool, so its answers do; and what was found elsewhere bounds the total from below.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.intervals import LEVEL, NAN, RESAMPLES, Counts, Interval, Scores, ratio, resample
from nextlabel.backend.metrics import precision_area
from nextlabel.connectors.errors import LearningError


@dataclass(frozen=True, slots=True)
class Remaining:
    """Positives found, and an interval for how many are left among the records without an answer.

    ``total``: of the whole pool. ``recall``: the share of all positives that is found; nan, [0, 1] while it may be that
    there are none. ``audited`` records of the audit slice have answers, ``hits`` of them positive.
    """

    found: int
    audited: int
    hits: int
    remaining: Interval
    total: Interval
    recall: Interval

    def __str__(self) -> str:
        left = self.remaining
        return f"{self.found:,} found, about {left.mean:,.0f} left [{left.low:,.0f} to {left.high:,.0f}]"


def remaining_positives(
    *, pool: int, audited: int, hits: int, labelled: int, found: int, level: float = LEVEL
) -> Remaining:
    """Estimate the positives without an answer.

    ``pool`` records were there when the audit slice was drawn; ``audited`` of the slice are answered, ``hits`` of
    them positive. ``labelled`` records are answered in all, the audited ones among them, ``found`` of them positive.

    The total is that of a hypergeometric sample, with its exact interval (two one-sided tests; Buonaccorsi, The
    American Statistician, 1987), which holds the truth at least as often as ``level`` says. It is then cut to what is
    certain: at least ``found`` are positive, ``labelled - found`` are not. This never makes it cover less. Raises
    LearningError for counts that contradict each other.
    """
    if not (0 <= hits <= audited <= labelled <= pool and hits <= found <= labelled - (audited - hits)):
        raise LearningError(
            f"counts contradict each other: {hits} of {audited} audited, {found} of {labelled} labelled, {pool} in all"
        )
    least, most = found, pool - (labelled - found)
    low, high = exact_total(pool, audited, hits, level)
    mean = pool * hits / audited if audited else float(least)
    total = Interval(*(float(np.clip(one, least, most)) for one in (mean, low, high)))
    left = Interval(*(one - found for one in (total.mean, total.low, total.high)))
    return Remaining(found, audited, hits, left, total, _recall(found, total))


def _recall(found: int, total: Interval) -> Interval:
    """Of all positives, the share found."""
    if total.high == 0:
        return Interval(NAN, 0.0, 1.0)
    mean = found / total.mean if total.mean else NAN
    return Interval(mean, found / total.high, found / total.low if total.low else 1.0)


def exact_total(size: int, drawn: int, hits: int, level: float = LEVEL) -> tuple[int, int]:
    """The least and the most positives among ``size`` that ``hits`` of ``drawn`` don't refute, by two exact tests."""
    from scipy.stats import hypergeom

    alpha = (1 - level) / 2
    totals = range(hits, size - (drawn - hits) + 1)  # what is certain
    # With more positives, fewer hits get less likely: both ends are found by halving.
    low = bisect_left(totals, True, key=lambda total: hypergeom.sf(hits - 1, size, total, drawn) > alpha)
    high = bisect_left(totals, True, key=lambda total: hypergeom.cdf(hits, size, total, drawn) <= alpha)
    return totals[low], totals[high - 1]


@dataclass(frozen=True, slots=True)
class PrevalenceFigures:
    """Precision, recall, F1 and average precision as they would be with ``prevalence`` of the records positive."""

    prevalence: float
    precision: Interval
    recall: Interval
    f1: Interval
    average_precision: Interval


def at_prevalence(
    scores: npt.NDArray[Any],
    positive: npt.NDArray[np.bool_],
    prevalence: float,
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PrevalenceFigures:
    """Correct figures of an enriched test set to the share that the class has in the pool.

    ``scores`` float [n], ``positive`` bool [n]: held-out predictions for records of which more are positive than in the
    pool, each class being drawn fairly. Every record counts so much that the classes have their true shares: recall
    stays, precision falls (Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001, has the same weights).
    Intervals: percentiles over resamples of each class by itself. Figures that need a class which has no record are
    nan. Raises LearningError for a prevalence outside (0, 1) or arrays of different lengths.
    """
    if not 0 < prevalence < 1:
        raise LearningError(f"a prevalence of {prevalence} is not between 0 and 1")
    if len(scores) != len(positive):
        raise LearningError(f"{len(scores)} scores don't go with {len(positive)} answers")
    if positive.all() or not positive.any():
        nothing = Interval(NAN, NAN, NAN)
        return PrevalenceFigures(prevalence, nothing, nothing, nothing, nothing)
    classes, called = (np.flatnonzero(positive), np.flatnonzero(~positive)), scores >= threshold
    weights = np.where(positive, prevalence / positive.sum(), (1 - prevalence) / (~positive).sum())

    def figures(counts: Counts) -> Scores:
        weighted = counts * weights
        hits, said, true = (weighted @ rows.astype(np.float64) for rows in (called & positive, called, positive))
        f1 = np.where(said > 0, ratio(2 * hits, said + true), NAN)
        return np.stack([ratio(hits, said), ratio(hits, true), f1, precision_area(positive, scores, weighted)], axis=1)

    whole = figures(np.ones((1, len(scores))))[0]
    drawn = resample(figures, len(scores), strata=classes, resamples=resamples, seed=seed)
    intervals = (Interval.around(float(mean), column, level) for mean, column in zip(whole, drawn.T, strict=True))
    return PrevalenceFigures(prevalence, *intervals)
