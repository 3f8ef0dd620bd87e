"""What every classifier of texts does, and one temperature for its logits, from texts it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets, activation_of
from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.backend.metrics import log_loss
from nextlabel.backend.numeric import best_temperature
from nextlabel.connectors.content import Readable

PRIOR = 1.0  # nats that a temperature of e or 1/e must save: a dozen texts, all right, don't make anyone sure


class Classifier(Protocol):
    """Something fitted that predicts."""

    def predict_proba(self, texts: Sequence[Readable]) -> FloatMatrix:
        """Probabilities float32 [len(texts), labels]: rows sum to 1, or each label apart when multi-label."""
        ...


def at_temperature(
    logits: npt.NDArray[np.float32], temperature: float, targets: npt.NDArray[np.generic]
) -> npt.NDArray[np.float32]:
    """The probabilities float32 [n, c] of ``logits`` divided by ``temperature``, for answers such as ``targets``."""
    return activation_of(targets).probabilities(logits / np.float32(temperature))


def fit_temperature(
    logits: npt.NDArray[np.float32],
    targets: Targets,
    weights: npt.NDArray[np.float32] | None = None,
    prior: float = PRIOR,
) -> float:
    """The temperature in [0.1, 10] with the least log loss; 1 without texts.

    Guo et al., 2017, "On Calibration of Modern Neural Networks". logits float32 [n, c], targets int64 [n] or bool
    [n, c], weights [n]. A weak ``prior`` around 1 keeps few texts from deciding too much; 0 takes it away.
    """
    if not len(targets):
        return 1.0

    def cost(temperature: float) -> float:
        loss = log_loss(at_temperature(logits, temperature, targets), targets, weights)
        return loss * len(targets) + prior * float(np.log(temperature)) ** 2

    return best_temperature(cost)[0]
