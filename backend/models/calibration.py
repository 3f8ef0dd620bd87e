"""One temperature for a trained network's logits, from texts it was not trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.examples import Targets
from nextlabel.backend.numeric import probabilities

LOWEST, HIGHEST = 0.1, 10.0
PRIOR = 1.0  # nats that a temperature of e or 1/e must save: a dozen texts, all right, don't make anyone sure


def log_loss(
    logits: npt.NDArray[np.float32],
    targets: Targets,
    weights: npt.NDArray[np.float32] | None = None,
    temperature: float = 1.0,
) -> float:
    """Mean negative log likelihood in nats a text (multi-label: a label); nan without texts."""
    if not len(targets):
        return float("nan")
    p = probabilities(logits / np.float32(temperature), targets.ndim == 2)
    right = np.where(targets, p, 1 - p) if targets.ndim == 2 else p[np.arange(len(p)), targets][:, None]
    each = -np.log(np.maximum(right.astype(np.float64), 1e-12)).mean(axis=1)
    return float(np.average(each, weights=weights))


def fit_temperature(
    logits: npt.NDArray[np.float32], targets: Targets, weights: npt.NDArray[np.float32] | None = None
) -> float:
    """The temperature in [0.1, 10] with the least log loss; 1 without texts.

    Guo et al., 2017, "On Calibration of Modern Neural Networks". logits float32 [n, c], targets int64 [n] or bool
    [n, c], weights [n]. A weak prior around 1 keeps few texts from deciding too much.
    """
    from scipy.optimize import minimize_scalar

    if not len(targets):
        return 1.0

    def cost(log_temperature: float) -> float:
        loss = log_loss(logits, targets, weights, float(np.exp(log_temperature)))
        return loss * len(targets) + PRIOR * log_temperature**2

    best = minimize_scalar(cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 0.01})
    return float(np.exp(best.x))
