"""ActiveLab: labelled and unlabelled records on one scale, so that relabelling competes with labelling.

Goh and Mueller, "ActiveLab: Active learning with re-labeling by multiple annotators", 2023
(https://arxiv.org/abs/2301.11856). The same numbers as cleanlab's ``get_active_learning_scores`` (a test holds them
together), at a cost that grows with the answers, and but for one thing: to find the temperature, cleanlab 2.9.0 counts
votes for the wrong classes wherever a record lacks votes for some class, and flattens predictions far too much.
"""

from __future__ import annotations

import numpy as np

from .crowdlab import crowdlab
from .opinions import Doubles, Opinions

TEMPERATURES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)
FINE = 4  # steps to either neighbour
TINY = 1e-30


def activelab_scores(opinions: Opinions, predicted: Doubles, predicted_unlabelled: Doubles) -> tuple[Doubles, Doubles]:
    """Scores float64 [n] of answered records and [m] of others, in [0, 1]: the lowest gain most from an answer.

    ``predicted`` float64 [n, c] is out-of-fold and goes with ``opinions``, where every record has an answer;
    ``predicted_unlabelled`` float64 [m, c].
    """
    classes = predicted.shape[1] if opinions.size else predicted_unlabelled.shape[1]
    temperature, model_weight, mean_weight = 1.0, 1.0, 1.0
    scores = np.empty(0)
    if opinions.size:
        if (opinions.per_record > 1).any():
            temperature = best_temperature(opinions, predicted)
            consensus = crowdlab(opinions, scaled(predicted, temperature))
            weights, model_weight, quality = consensus.weights, consensus.model_weight, consensus.quality
        else:
            weights = np.ones(len(opinions.annotators))
            quality = predicted[opinions.record, opinions.label][np.argsort(opinions.record)]
        mean_weight = float(weights[opinions.per_annotator > 0].mean())
        certain = np.bincount(opinions.record, weights[opinions.annotator], opinions.size) + model_weight
        scores = (quality * certain + mean_weight / classes) / (certain + mean_weight)
    best = scaled(predicted_unlabelled, temperature).max(axis=1, initial=0.0)
    return scores, (best * model_weight + mean_weight / classes) / (model_weight + mean_weight)


def best_temperature(opinions: Opinions, predicted: Doubles) -> float:
    """The temperature at which predictions are nearest, in cross-entropy, to the shares of the annotators' votes."""
    shares = opinions.votes / np.maximum(opinions.per_record, 1)[:, None]
    with np.errstate(divide="ignore"):
        logits = np.log(predicted)

    def loss(temperature: float) -> float:
        odds = np.exp(logits / temperature)
        p = np.maximum(odds / odds.sum(axis=1, keepdims=True), TINY)
        return float(-(shares * np.log(p)).sum(axis=1).mean())

    at = int(np.argmin([loss(one) for one in TEMPERATURES]))
    fine: list[float] = []
    if at > 0:
        fine += np.linspace(TEMPERATURES[at - 1], TEMPERATURES[at], FINE, endpoint=False).tolist()
    if at < len(TEMPERATURES) - 1:
        fine += np.linspace(TEMPERATURES[at], TEMPERATURES[at + 1], FINE + 1).tolist()
    return fine[int(np.argmin([loss(one) for one in fine]))]


def scaled(predicted: Doubles, temperature: float) -> Doubles:
    """Probabilities [n, c] sharpened (below 1) or flattened (above 1)."""
    p = np.maximum(predicted, TINY)
    odds = np.exp(np.log(p / p.sum(axis=1, keepdims=True)) / temperature)
    result: Doubles = odds / odds.sum(axis=1, keepdims=True)
    return result
