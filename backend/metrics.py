"""Figures of predictions against answers, for single labels and for several labels per text, and how sure they are.

``predicted`` float32 [n, c] holds probabilities; ``targets`` is int64 [n], or bool [n, c] where a text may have
several labels. What is not defined (no rows, only one class among the answers) is nan, never an error.

A resample is a row of ``counts`` float32 [b, n]: how often each of the n rows was drawn. A :class:`Figure` is worked
out on many at once, and on the rows as they are, which is the resample that draws each once. Shares have Wilson's
interval, everything else the bootstrap's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Flags, Targets, activation_of
from nextlabel.backend.numeric import plain
from nextlabel.connectors.errors import LearningError

Predicted: TypeAlias = npt.NDArray[np.float32]
Counts: TypeAlias = npt.NDArray[np.floating[Any]]
Scores: TypeAlias = npt.NDArray[np.float64]
Metric: TypeAlias = Callable[[Predicted, Targets], float]
NAN = float("nan")
LEAST = 1e-12  # a probability of 0 has no logarithm
LEVEL = 0.95
RESAMPLES = 1000
CELLS = 4_000_000  # of the counts [resamples, rows] that are held at once


def right(predicted: Predicted, targets: Targets) -> Flags:
    """Which rows are right, bool [n]. Multi-label: every label of the row has to be right."""
    return activation_of(targets).right(predicted, targets)


def log_loss(predicted: Predicted, targets: Targets, weights: npt.NDArray[np.float32] | None = None) -> float:
    """Mean negative log likelihood in nats a text; nan without texts.

    Where a text may have several labels, the mean over them too, so that it can be compared whatever their number.
    """
    if not len(targets):
        return NAN
    likelihood = activation_of(targets).likelihood(predicted, targets).astype(np.float64)
    return float(np.average(-np.log(np.maximum(likelihood, LEAST)).mean(axis=1), weights=weights))


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of predictions: ``resampled`` on each of many resamples, float64 [b]; called, on every row once."""

    resampled: Callable[[Predicted, Targets, Counts], Scores]

    def __call__(self, predicted: Predicted, targets: Targets) -> float:
        """The figure of all rows, each counted once."""
        return float(self.resampled(predicted, targets, _once(len(targets)))[0])


def _once(size: int) -> Counts:
    return np.ones((1, size), np.float32)


@Figure
def accuracy(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """Share of rows that are right, nan for none. Multi-label: every label of the row has to be right."""
    hits = counts @ right(predicted, targets).astype(np.float32)
    return ratio(hits, counts.sum(axis=1))


@Figure
def macro_f1(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """Mean F1 over the classes that occur in the answers or in the predictions, nan for no rows."""
    said = activation_of(targets).decided(predicted)
    true = activation_of(targets).flags(targets, predicted.shape[1])
    hits = counts @ (said & true).astype(np.float32)
    both = counts @ np.add(said, true, dtype=np.float32)
    return _mean(ratio(2 * hits, both).T)


@Figure
def roc_auc(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """Area under the ROC curve: of two classes the second's, else the mean over one-against-rest curves.

    Classes that all or none of the rows have are left out of the mean; nan if that leaves none.
    """
    return _by_class(_auc, predicted, targets, counts)


@Figure
def average_precision(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """Area under the precision-recall curve, mean over the classes that some row has; nan for none."""
    return _by_class(precision_area, predicted, targets, counts)


FIGURES: dict[str, Figure] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "average_precision": average_precision,
}


def confusion(predicted: Predicted, targets: Targets) -> npt.NDArray[np.int64]:
    """Counts int64 [c, c], answers down, predictions across. Multi-label: [c, 2, 2], one such table a label."""
    return activation_of(targets).confusion(predicted, targets)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The figures of one label; ``support`` rows have it, ``said`` rows are predicted to."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    said: int
    roc_auc: float
    average_precision: float


def class_figures(predicted: Predicted, targets: Targets, labels: Sequence[str]) -> list[ClassFigures]:
    """One entry per label, in the order of ``labels``. What is divided by nothing is nan."""
    said, true = activation_of(targets).decided(predicted), activation_of(targets).flags(targets, predicted.shape[1])
    whole = _once(len(targets))
    hits, claims, support = (said & true).sum(axis=0), said.sum(axis=0), true.sum(axis=0)
    return [
        ClassFigures(
            label=label,
            precision=_share(hits[at], claims[at]),
            recall=_share(hits[at], support[at]),
            f1=_share(2 * hits[at], claims[at] + support[at]),
            support=int(support[at]),
            said=int(claims[at]),
            roc_auc=float(_auc(true[:, at], predicted[:, at], whole)[0]),
            average_precision=float(precision_area(true[:, at], predicted[:, at], whole)[0]),
        )
        for at, label in enumerate(labels)
    ]


def _by_class(
    figure: Callable[[Flags, Predicted, Counts], Scores], predicted: Predicted, targets: Targets, counts: Counts
) -> Scores:
    true = activation_of(targets).flags(targets, predicted.shape[1])
    columns = activation_of(targets).curve_columns(predicted.shape[1])
    return _mean(np.array([figure(true[:, at], predicted[:, at], counts) for at in columns]))


def _auc(true: Flags, scores: Predicted, counts: Counts) -> Scores:
    """The share of (yes, no) pairs in the right order, a tie counting half (Mann and Whitney, 1947)."""
    yes, no = _by_score(true, scores, counts)
    below = np.cumsum(no, axis=1) - no / 2
    return ratio((yes * below).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))


def precision_area(true: Flags, scores: Predicted, counts: Counts) -> Scores:
    """Precision at every threshold, weighed by the recall gained there."""
    yes, no = (drawn[:, ::-1] for drawn in _by_score(true, scores, counts))
    precision = ratio(yes.cumsum(axis=1), (yes + no).cumsum(axis=1))
    return ratio(np.nansum(yes * precision, axis=1), yes.sum(axis=1))


def _by_score(true: Flags, scores: Predicted, counts: Counts) -> tuple[Scores, Scores]:
    """How many rows with and without the label are drawn at each distinct score, the lowest first, float64 [b, k]."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
    drawn = counts[:, order].astype(np.float64)
    yes, no = (np.add.reduceat(drawn * kind, starts, axis=1) for kind in (true[order], ~true[order]))
    return yes, no


def ratio(part: npt.NDArray[np.floating[Any]], whole: npt.NDArray[np.floating[Any]]) -> Scores:
    """In double precision, nan for a part of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part, np.float64) / whole


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else NAN


def _mean(by_class: Scores) -> Scores:
    """The mean down the classes that have a value; nan where none has."""
    known = np.isfinite(by_class)
    return ratio(np.where(known, by_class, 0.0).sum(axis=0), known.sum(axis=0))


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval around it; all nan where it is not defined."""

    mean: float
    low: float
    high: float

    @classmethod
    def around(cls, mean: float, drawn: Scores, level: float = LEVEL) -> Interval:
        """The figure within the percentiles of its values on resampled rows; all nan where it is not defined."""
        low, high = percentiles(drawn, level)
        return cls(mean, min(low, mean), max(high, mean)) if mean == mean else cls(NAN, NAN, NAN)

    def to_json(self) -> dict[str, float | None]:
        """Its three numbers; JSON has no nan, so what is not defined is null."""
        found: dict[str, float | None] = plain(self)
        return found

    def within(self, least: float, most: float) -> Interval:
        """The same, its bounds cut to where the figure can lie."""
        low, high = np.clip([self.low, self.high], least, most).tolist()
        return Interval(self.mean, low, high)

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.mean == self.mean else "–"


def wilson_interval(correct: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval for a share of ``correct`` among ``n`` (Wilson, 1927): (0, 1) for n = 0.

    scipy's ``binomtest(...).proportion_ci`` is the same for whole numbers; these may be means over seeds.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    figure: Figure,
    runs: Sequence[Predicted],
    targets: Targets,
    *,
    groups: npt.NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The figure's mean over ``runs`` and its percentile interval (Efron, 1979) over resampled rows.

    ``runs``: float32 [n, c] each, predictions for the same rows from several seeds. Rows with equal ``groups`` [n]
    are drawn together or not at all: they tell less than as many independent rows, and the interval says so. Where
    every resample gives the same value (a perfect score), the bootstrap knows no doubt and Wilson's interval stands in.
    """
    size = len(targets)
    mean = float(np.mean([figure(run, targets) for run in runs])) if size else NAN
    if mean != mean:
        return Interval(NAN, NAN, NAN)
    scores = resample(
        lambda counts: mean_over(figure, runs, targets, counts), size, groups=groups, resamples=resamples, seed=seed
    )
    low, high = percentiles(scores, level)
    if high - low < 1e-9:
        units = size if groups is None else len(np.unique(groups))
        low, high = wilson_interval(mean * units, units, level)
    return Interval(mean, min(low, mean), max(high, mean))


def mean_over(figure: Figure, runs: Sequence[Predicted], targets: Targets, counts: Counts) -> Scores:
    """The figure on each of the resamples, mean over ``runs``, float64 [b]."""
    return np.asarray(np.mean([figure.resampled(run, targets, counts) for run in runs], axis=0), np.float64)


def resample(
    score: Callable[[Counts], Scores],
    size: int,
    *,
    groups: npt.NDArray[Any] | None = None,
    strata: Sequence[npt.NDArray[np.int64]] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """What ``score`` gives for each resample of ``size`` rows, float64 [resamples, ...]. The same seed draws the same.

    ``groups`` [size] are drawn whole; the rows of each of ``strata``, where there are some, are drawn by themselves.
    """
    if resamples < 1:
        raise LearningError(f"{resamples} resamples give no interval; 1000 is usual")
    rng = np.random.default_rng(seed)
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    step = max(1, CELLS // max(size, 1))

    def drawn(many: int) -> Counts:
        if not strata:
            return draw(size, many, rng, codes)
        counts = np.zeros((many, size), np.float32)
        for count, rows in product(counts, strata):
            count[rows] = draw(len(rows), 1, rng)[0]
        return counts

    return np.concatenate([score(drawn(min(step, resamples - start))) for start in range(0, resamples, step)])


def draw(size: int, resamples: int, rng: np.random.Generator, codes: npt.NDArray[np.int64] | None = None) -> Counts:
    """How often each row is drawn, float32 [resamples, size]; whole groups where ``codes`` int64 [size] name them."""
    units = size if codes is None else int(codes.max()) + 1
    counts = np.empty((resamples, units), np.float32)
    for at in range(resamples):
        counts[at] = np.bincount(rng.integers(units, size=units), minlength=units)
    return counts if codes is None else counts[:, codes]


def percentiles(scores: Scores, level: float = LEVEL) -> tuple[float, float]:
    """The middle ``level`` of the scores that are defined; (nan, nan) if none is."""
    known = scores[np.isfinite(scores)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
