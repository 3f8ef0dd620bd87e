"""Honest figures: out-of-fold predictions, and accuracy on the audit slice with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.folds import Targets, assign_folds
from nextlabel.backend.learning.probe import Probe
from nextlabel.connectors.errors import LearningError


def out_of_fold(
    vectors: npt.NDArray[Any],
    targets: Targets,
    classes: int,
    *,
    groups: npt.NDArray[Any] | None = None,
    folds: int = 5,
    seed: int = 0,
    weights: npt.NDArray[Any] | None = None,
    anchors: npt.NDArray[Any] | None = None,
) -> npt.NDArray[np.float32]:
    """Probabilities float32 [m, c] for every row, each from a probe that has not seen the row's fold.

    Arguments as in ``Probe.fit``. Folds are stratified, and rows with equal ``groups`` [m] are never split: give
    the user or the template where texts of one hand are alike, or the figures flatter. Raises LearningError.
    """
    if folds < 2:
        raise LearningError(f"{folds} folds leave nothing to learn from; take 2 or more")
    if len(vectors) < 2:
        raise LearningError(f"{len(vectors)} labelled rows can't be split into folds; label more")
    if groups is not None and len(np.unique(groups)) < 2:
        raise LearningError("all rows are of one group: there is nothing to hold out")
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    fold_of = assign_folds(targets, folds, np.random.default_rng(seed), codes)
    out = np.empty((len(vectors), classes), np.float32)
    for fold in np.unique(fold_of):
        kept, held = fold_of != fold, fold_of == fold
        part = None if weights is None else weights[kept]
        probe = Probe.fit(vectors[kept], targets[kept], classes, weights=part, anchors=anchors)
        out[held] = probe.predict_proba(vectors[held])
    return out


def accuracy(predicted: npt.NDArray[np.float32], targets: Targets) -> float:
    """Share of rows that are right, nan for none. Multi-label: every label of the row has to be right."""
    right = _right(predicted, targets)
    return float(right.mean()) if len(right) else float("nan")


def macro_f1(predicted: npt.NDArray[np.float32], targets: Targets) -> float:
    """Mean F1 over the classes that occur in the answers or in the predictions, nan for no rows."""
    said = _decided(predicted, targets.ndim == 2)
    true = targets if targets.ndim == 2 else np.eye(predicted.shape[1], dtype=np.bool_)[targets]
    occurs = (said | true).any(axis=0)
    if not occurs.any():
        return float("nan")
    hits = (said & true).sum(axis=0)[occurs]
    return float((2 * hits / (said.sum(axis=0) + true.sum(axis=0))[occurs]).mean())


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of ``correct`` among ``n`` (Wilson, 1927): (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Accuracy on the answered part of the audit slice, with its Wilson interval at 95%.

    Measured against people's answers, so people's errors count as the model's. nan while ``n`` is 0.
    """

    n: int
    correct: int
    accuracy: float
    low: float
    high: float
    macro_f1: float


def audit_report(predicted: npt.NDArray[np.float32], answers: Targets, level: float = 0.95) -> AuditReport:
    """Hold ``predicted`` [n, c] against the ``answers`` to the audit slice: int64 [n], or bool [n, c]."""
    correct, n = int(_right(predicted, answers).sum()), len(answers)
    low, high = wilson_interval(correct, n, level)
    return AuditReport(n, correct, accuracy(predicted, answers), low, high, macro_f1(predicted, answers))


def _decided(predicted: npt.NDArray[np.float32], multi_label: bool) -> npt.NDArray[np.bool_]:
    if multi_label:
        return predicted > 0.5
    said = np.zeros(predicted.shape, np.bool_)
    said[np.arange(len(predicted)), predicted.argmax(axis=1)] = True
    return said


def _right(predicted: npt.NDArray[np.float32], targets: Targets) -> npt.NDArray[np.bool_]:
    if targets.ndim == 2:
        return np.asarray(((predicted > 0.5) == targets).all(axis=1))
    return np.asarray(predicted.argmax(axis=1) == targets)
