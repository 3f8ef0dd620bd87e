"""Whether a probability means what it says: reliability, its summary (ECE), and temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.examples import Targets
from nextlabel.backend.metrics import Predicted, one_hot, right
from nextlabel.backend.numeric import probabilities
from nextlabel.connectors.errors import LearningError

BINS = 10
LEAST = 1e-7  # a probability of 0 has no logarithm
COOLEST, HOTTEST = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of like confidence: the mean they claimed, and the share that was right."""

    count: int
    confidence: float
    accuracy: float


def reliability(predicted: Predicted, targets: Targets, bins: int = BINS) -> list[Bin]:
    """Predictions in ``bins`` of equal size (one more or less), the least sure first.

    Single labels: the probability of the likeliest. Multi-label: every label's probability, against whether it
    applies. Equal confidences are not told apart, so with few distinct ones there are fewer bins.
    """
    if bins < 1:
        raise LearningError(f"{bins} bins hold nothing; 10 is usual")
    claimed: npt.NDArray[np.float32] = predicted.ravel() if targets.ndim == 2 else predicted.max(axis=1, initial=0.0)
    true: npt.NDArray[np.bool_] = targets.ravel() != 0 if targets.ndim == 2 else right(predicted, targets)
    if not len(claimed):
        return []
    order = np.argsort(claimed, kind="stable")
    claimed, true = claimed[order], true[order]
    edges = np.searchsorted(claimed, claimed[np.arange(1, bins) * len(claimed) // bins])
    parts = np.split(np.arange(len(claimed)), np.unique(edges[edges > 0]))
    return [Bin(len(part), float(claimed[part].mean(dtype=np.float64)), float(true[part].mean())) for part in parts]


def calibration_error(predicted: Predicted, targets: Targets, bins: int = BINS) -> float:
    """Expected calibration error with bins of equal mass (Nixon et al., 2019): 0 is perfect, nan for no rows."""
    table = reliability(predicted, targets, bins)
    total = sum(one.count for one in table)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in table) / total if total else float("nan")


def log_loss(predicted: Predicted, targets: Targets) -> float:
    """Mean negative log probability of the answers (summed over a row's labels when multi-label), nan for no rows."""
    if not len(targets):
        return float("nan")
    true = one_hot(targets, predicted.shape[1])
    p = np.clip(predicted.astype(np.float64), LEAST, 1 - LEAST)
    losses = -np.log(np.where(true, p, 1 - p)) if targets.ndim == 2 else -np.log(p[true])[:, None]
    return float(losses.sum(axis=1).mean())


def best_temperature(predicted: Predicted, targets: Targets) -> float:
    """The temperature in [0.1, 10] that fits the answers best (Guo et al., 2017); 1 for no rows.

    Above 1, the probabilities were too sure.
    """
    from scipy.optimize import minimize_scalar

    if not len(targets):
        return 1.0
    found = minimize_scalar(
        lambda log: log_loss(tempered(predicted, float(np.exp(log)), targets.ndim == 2), targets),
        bounds=(np.log(COOLEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 0.005},
    )
    return float(np.exp(found.x))


def tempered(predicted: Predicted, temperature: float, multi_label: bool) -> Predicted:
    """The probabilities float32 [n, c] that the same logits give at another temperature."""
    if temperature <= 0:
        raise LearningError(f"a temperature of {temperature} is none; it must be above 0")
    p = np.clip(predicted.astype(np.float64), LEAST, 1 - LEAST)
    logits: npt.NDArray[np.float64] = np.log(p) - (np.log1p(-p) if multi_label else 0.0)
    return probabilities((logits / temperature).astype(np.float32), multi_label)
