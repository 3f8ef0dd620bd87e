"""Whether a probability means what it says: reliability, its summary (ECE), and temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextlabel.backend.activation import Activation, Targets, activation_of
from nextlabel.backend.metrics import Predicted
from nextlabel.connectors.errors import LearningError

BINS = 10


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
    claimed, true = activation_of(targets).claims(predicted, targets)
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


def tempered(predicted: Predicted, temperature: float, activation: Activation) -> Predicted:
    """The probabilities float32 [n, c] that the same logits give at another temperature."""
    if temperature <= 0:
        raise LearningError(f"a temperature of {temperature} is none; it must be above 0")
    return activation.probabilities(activation.logits(predicted) / np.float32(temperature))
