"""The temperature that brings a model's predictions near to annotators' answers, as ActiveLab wants it before CROWDLAB.

Goh and Mueller, "ActiveLab: Active learning with re-labeling by multiple annotators", 2023
(https://arxiv.org/abs/2301.11856). The reference is cleanlab, which tries the same temperatures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .opinions import Doubles, Opinions

TINY = 1e-30  # probability, inside logarithms
_COARSE = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)  # temperatures
_STEPS = 4  # between two of them, in the second search


def best_temperature(opinions: Opinions, p: Doubles) -> float:
    """The temperature at which ``p`` float [n, c] is nearest to what annotators answered about n records, all of them.

    A coarse search and a fine one.
    """
    votes = opinions.votes
    shares = votes / votes.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        logits = np.log(p)

    def loss(temperature: float) -> float:
        scaled = np.exp(logits / temperature)
        scaled /= scaled.sum(axis=1, keepdims=True)
        return float(-(shares * np.log(np.maximum(scaled, TINY))).sum(axis=1).mean())

    return _lowest(loss)


def _lowest(loss: Callable[[float], float]) -> float:
    at = int(np.argmin([loss(one) for one in _COARSE]))
    fine: list[float] = []
    if at > 0:
        fine += np.linspace(_COARSE[at - 1], _COARSE[at], _STEPS, endpoint=False).tolist()
    if at < len(_COARSE) - 1:
        fine += np.linspace(_COARSE[at], _COARSE[at + 1], _STEPS + 1).tolist()
    return fine[int(np.argmin([loss(one) for one in fine]))]


def at_temperature(p: Doubles, temperature: float) -> Doubles:
    """Probabilities [n, c], sharpened below 1 and flattened above."""
    logits = np.log(np.maximum(p, TINY))
    scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), dtype=np.float64)
