"""The figures of :mod:`.metrics` on many resamples at once.

A resample is a row of ``counts``: how often each of the n rows was drawn. Every function here takes counts
float32 [b, n] and returns float64 [b], equal to the plain figure on the rows so repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend import metrics
from nextlabel.backend.activation import Targets, activation_of
from nextlabel.backend.metrics import Predicted

Counts: TypeAlias = npt.NDArray[np.float32]
Scores: TypeAlias = npt.NDArray[np.float64]
Resampled: TypeAlias = Callable[[Predicted, Targets, Counts], Scores]


def accuracy(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """See :func:`.metrics.accuracy`."""
    correct = metrics.right(predicted, targets).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.asarray((counts @ correct) / counts.sum(axis=1), np.float64)


def macro_f1(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """See :func:`.metrics.macro_f1`: the mean is over the classes that occur in the resample."""
    said = activation_of(targets).decided(predicted)
    true = metrics.one_hot(targets, predicted.shape[1])
    hits = counts @ (said & true).astype(np.float32)
    both = counts @ said.astype(np.float32) + counts @ true.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(2 * hits / both, axis=1) / (both > 0).sum(axis=1), np.float64)


def roc_auc(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """See :func:`.metrics.roc_auc`: classes that all or none of a resample's rows have are left out."""
    true = metrics.one_hot(targets, predicted.shape[1])
    found = [_auc(true[:, at], predicted[:, at], counts) for at in metrics.curve_columns(predicted, targets)]
    return _mean(np.array(found))


def average_precision(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
    """See :func:`.metrics.average_precision`: classes that no row of a resample has are left out."""
    true = metrics.one_hot(targets, predicted.shape[1])
    found = [_precision_area(true[:, at], predicted[:, at], counts) for at in metrics.curve_columns(predicted, targets)]
    return _mean(np.array(found))


def _auc(true: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], counts: Counts) -> Scores:
    """The share of (yes, no) pairs in the right order, a tie counting half (Mann and Whitney, 1947)."""
    order = np.argsort(scores, kind="stable")
    starts = _starts(scores[order])
    drawn = counts[:, order].astype(np.float64)
    yes = np.add.reduceat(drawn * true[order], starts, axis=1)
    no = np.add.reduceat(drawn * ~true[order], starts, axis=1)
    below = np.cumsum(no, axis=1) - no / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((yes * below).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1)))


def _precision_area(true: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], counts: Counts) -> Scores:
    """Precision at every threshold, weighed by the recall gained there."""
    order = np.argsort(-scores, kind="stable")
    starts = _starts(scores[order])
    drawn = counts[:, order].astype(np.float64)
    gained = np.add.reduceat(drawn * true[order], starts, axis=1)
    taken = np.add.reduceat(drawn, starts, axis=1).cumsum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = gained.cumsum(axis=1) / taken
        return np.asarray(np.nansum(gained * precision, axis=1) / gained.sum(axis=1))


def _starts(ordered: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Where each run of equal scores begins."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _mean(by_class: npt.NDArray[np.float64]) -> Scores:
    """The mean down the classes that have a value; nan where none has."""
    known = np.isfinite(by_class)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, by_class, 0.0).sum(axis=0) / known.sum(axis=0))


FIGURES: dict[str, Resampled] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "average_precision": average_precision,
}
