"""Figures of predictions against answers, for single labels and for several labels per text.

``predicted`` float32 [n, c] holds probabilities; ``targets`` is int64 [n], or bool [n, c] where a text may have
several labels. What is not defined (no rows, only one class among the answers) is nan, never an error.

A :class:`Figure` is worked out on many resamples at once (see ``intervals``), and on the rows as they are, which is the
resample that draws each once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Flags, Targets, activation_of
from nextlabel.backend.intervals import (
    LEVEL,
    NAN,
    NOTHING,
    Counts,
    Interval,
    Scores,
    interval_of,
    leave_out,
    ratio,
    units_of,
)

Predicted: TypeAlias = npt.NDArray[np.float32]
Metric: TypeAlias = Callable[[Predicted, Targets], float]
SMALLEST = 1e-12  # a probability of 0 has no logarithm


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
    return float(np.average(-np.log(np.maximum(likelihood, SMALLEST)).mean(axis=1), weights=weights))


ByClass: TypeAlias = Callable[[Predicted, Targets, Counts], Scores]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of predictions: the mean of ``by_class``, float64 [b, k] on each of many resamples.

    A class without a value is nan there, and left out of the mean; k is 1 for what is not told by class. ``bearing``
    bool [n, k]: the rows that the value of each class rests on.
    """

    by_class: ByClass
    bearing: Callable[[Predicted, Targets], Flags]

    def resampled(self, predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
        """The figure on each of the resamples, float64 [b]."""
        return _mean(self.by_class(predicted, targets, counts).T)

    def __call__(self, predicted: Predicted, targets: Targets) -> float:
        """The figure of all rows, each counted once."""
        return float(self.resampled(predicted, targets, _once(len(targets)))[0])


def _once(size: int) -> Counts:
    return np.ones((1, size), np.float32)


def _accuracy(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    hits = counts @ right(predicted, targets).astype(np.float32)
    return ratio(hits, counts.sum(axis=1))[:, None]


def _f1(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    said, true = _said_and_true(predicted, targets)
    hits = counts @ (said & true).astype(np.float32)
    both = counts @ np.add(said, true, dtype=np.float32)
    return ratio(2 * hits, both)


def _said_and_true(predicted: Predicted, targets: Targets) -> tuple[Flags, Flags]:
    activation = activation_of(targets)
    return activation.decided(predicted), activation.flags(targets, predicted.shape[1])


def _in_play(predicted: Predicted, targets: Targets) -> Flags:
    """The rows that have a class or are predicted to."""
    said, true = _said_and_true(predicted, targets)
    return said | true


def _curves(
    figure: Callable[[Flags, Predicted, Counts], Scores], bearing: Callable[[Flags], Flags], of_two: int = 1
) -> Figure:
    """A figure of each class against the rest; of two exclusive classes, of the one called ``of_two`` alone."""

    def columns(predicted: Predicted, targets: Targets) -> tuple[list[int], Flags]:
        activation = activation_of(targets)
        found = activation.curve_columns(predicted.shape[1])
        found = [of_two] if len(found) < predicted.shape[1] else found
        return found, activation.flags(targets, predicted.shape[1])

    def by_class(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
        found, true = columns(predicted, targets)
        return np.stack([figure(true[:, at], predicted[:, at], counts) for at in found], axis=1)

    def rests_on(predicted: Predicted, targets: Targets) -> Flags:
        found, true = columns(predicted, targets)
        return bearing(true[:, found])

    return Figure(by_class, rests_on)


def _fewer(true: Flags) -> Flags:
    """Of each class, the rows with it or those without, whichever are fewer."""
    return np.where(2 * true.sum(axis=0) <= len(true), true, ~true)


def precision_of(positive: int) -> Figure:
    """Average precision; of two exclusive classes, that of ``positive``."""
    return _curves(precision_area, lambda true: true, positive)


accuracy = Figure(_accuracy, lambda predicted, targets: np.ones((len(targets), 1), np.bool_))
"""Share of rows that are right, nan for none. Multi-label: every label of the row has to be right."""
macro_f1 = Figure(_f1, _in_play)
"""Mean F1 over the classes that occur in the answers or in the predictions, nan for no rows."""


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


roc_auc = _curves(_auc, _fewer)
"""Area under the ROC curve: of two exclusive classes one's, which is the other's too, else the mean over all.

Classes that all or none of the rows have are left out of the mean; nan if that leaves none.
"""
average_precision = precision_of(1)
"""Area under the precision-recall curve, mean over the classes that some row has; nan for none."""
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
    said, true = _said_and_true(predicted, targets)
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


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else NAN


def _mean(by_class: Scores) -> Scores:
    """The mean down the classes that have a value; nan where none has."""
    known = np.isfinite(by_class)
    return ratio(np.where(known, by_class, 0.0).sum(axis=0), known.sum(axis=0))


def confidence_interval(
    figure: Figure,
    runs: Sequence[Predicted],
    targets: Targets,
    *,
    groups: npt.NDArray[Any] | None = None,
    level: float = LEVEL,
) -> Interval:
    """The figure's mean over ``runs`` and its interval, see ``interval_of``. Nothing in it is left to chance.

    ``runs``: float32 [n, c] each, predictions for the same rows from several seeds. Rows with equal ``groups`` [n] are
    one unit: they tell less than as many independent rows, and the interval says so. All nan where the figure is.
    """
    size, codes = len(targets), units_of(groups, len(targets))
    if not size:
        return NOTHING

    def score(counts: Counts) -> Scores:
        return np.asarray(np.mean([figure.by_class(run, targets, counts) for run in runs], axis=0), np.float64)

    bearing = [len(np.unique(codes[rows])) for rows in figure.bearing(runs[0], targets).T]
    return interval_of(score(_once(size))[0], leave_out(score, codes), np.array(bearing), level)


def mean_over(figure: Figure, runs: Sequence[Predicted], targets: Targets, counts: Counts) -> Scores:
    """The figure on each of the resamples, mean over ``runs``, float64 [b]."""
    return np.asarray(np.mean([figure.resampled(run, targets, counts) for run in runs], axis=0), np.float64)
