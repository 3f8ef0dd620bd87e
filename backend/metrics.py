"""Figures of predictions against answers, for single labels and for several labels per text.

``predicted`` float32 [n, c] holds probabilities; ``targets`` is int64 [n], or bool [n, c] where a text may have
several labels. What is not defined (no rows, only one class among the answers) is nan, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Flags, Targets, activation_of

Predicted: TypeAlias = npt.NDArray[np.float32]
Metric: TypeAlias = Callable[[Predicted, Targets], float]
NAN = float("nan")
LEAST = 1e-12  # a probability of 0 has no logarithm


def right(predicted: Predicted, targets: Targets) -> Flags:
    """Which rows are right, bool [n]. Multi-label: every label of the row has to be right."""
    return activation_of(targets).right(predicted, targets)


def one_hot(targets: Targets, classes: int) -> Flags:
    """The answers as bool [n, c]."""
    return activation_of(targets).flags(targets, classes)


def log_loss(predicted: Predicted, targets: Targets, weights: npt.NDArray[np.float32] | None = None) -> float:
    """Mean negative log likelihood in nats a text; nan without texts.

    Where a text may have several labels, the mean over them too, so that it can be compared whatever their number.
    """
    if not len(targets):
        return NAN
    likelihood = activation_of(targets).likelihood(predicted, targets).astype(np.float64)
    return float(np.average(-np.log(np.maximum(likelihood, LEAST)).mean(axis=1), weights=weights))


def accuracy(predicted: Predicted, targets: Targets) -> float:
    """Share of rows that are right, nan for none. Multi-label: every label of the row has to be right."""
    correct = right(predicted, targets)
    return float(correct.mean()) if len(correct) else NAN


def macro_f1(predicted: Predicted, targets: Targets) -> float:
    """Mean F1 over the classes that occur in the answers or in the predictions, nan for no rows."""
    said, true = activation_of(targets).decided(predicted), one_hot(targets, predicted.shape[1])
    occurs = (said | true).any(axis=0)
    if not occurs.any():
        return NAN
    hits = (said & true).sum(axis=0)[occurs]
    return float((2 * hits / (said.sum(axis=0) + true.sum(axis=0))[occurs]).mean())


def roc_auc(predicted: Predicted, targets: Targets) -> float:
    """Area under the ROC curve: of two classes the second's, else the mean over one-against-rest curves.

    Classes that all or none of the rows have are left out of the mean; nan if that leaves none.
    """
    return _mean(_by_class(predicted, targets, _auc))


def average_precision(predicted: Predicted, targets: Targets) -> float:
    """Area under the precision-recall curve, mean over the classes that some row has; nan for none."""
    return _mean(_by_class(predicted, targets, _precision_area))


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
    said, true = activation_of(targets).decided(predicted), one_hot(targets, predicted.shape[1])
    hits, claims, support = (said & true).sum(axis=0), said.sum(axis=0), true.sum(axis=0)
    return [
        ClassFigures(
            label=label,
            precision=_share(hits[at], claims[at]),
            recall=_share(hits[at], support[at]),
            f1=_share(2 * hits[at], claims[at] + support[at]),
            support=int(support[at]),
            said=int(claims[at]),
            roc_auc=_auc(true[:, at], predicted[:, at]),
            average_precision=_precision_area(true[:, at], predicted[:, at]),
        )
        for at, label in enumerate(labels)
    ]


def curve_columns(predicted: Predicted, targets: Targets) -> list[int]:
    """The classes that have a curve of their own: of two exclusive ones only the second."""
    return activation_of(targets).curve_columns(predicted.shape[1])


def _by_class(predicted: Predicted, targets: Targets, figure: Callable[[Flags, Any], float]) -> list[float]:
    true = one_hot(targets, predicted.shape[1])
    return [figure(true[:, at], predicted[:, at]) for at in curve_columns(predicted, targets)]


def _auc(true: Flags, scores: npt.NDArray[np.float32]) -> float:
    if true.all() or not true.any():
        return NAN
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(true, scores))


def _precision_area(true: Flags, scores: npt.NDArray[np.float32]) -> float:
    if not true.any():
        return NAN
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(true, scores))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else NAN


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else NAN
