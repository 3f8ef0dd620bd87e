"""CROWDLAB: a consensus weighed between annotators and a model, and each annotator's weight.

Goh, Tkachenko and Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data with
multiple annotators", 2022 (https://arxiv.org/abs/2210.06812). The same numbers as cleanlab's
``get_label_quality_multiannotator`` (a test holds them together), from the list of answers in place of a table with a
column per annotator: the time grows with the answers and not with the square of the annotators.

Before it, ActiveLab brings the model's predictions near to the answers by one temperature (Goh and Mueller, "ActiveLab:
Active learning with re-labeling by multiple annotators", 2023, https://arxiv.org/abs/2301.11856), which is tried as in
cleanlab.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nextlabel.connectors.errors import LearningError

from .base import Consensus, majority_labels
from .opinions import Doubles, Indices, Opinions

LEAST = 1e-6  # cleanlab's floor under weights and errors
TINY = 1e-30  # probability, inside logarithms
_COARSE = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)  # temperatures
_STEPS = 4  # between two of them, in the second search


def crowdlab(opinions: Opinions, predicted: Doubles) -> Consensus:
    """The consensus of ``opinions``, given out-of-fold predictions float64 [n, c].

    Raises LearningError if no record has two answers: nobody's agreement with anybody is known then.
    """
    if not (opinions.per_record > 1).any():
        raise LearningError("CROWDLAB needs a record with two answers; use the majority until there is one")
    first = majority_labels(opinions, predicted)
    posterior, _, _ = _weigh(opinions, predicted, first)
    best = posterior == posterior.max(axis=1, keepdims=True)
    labels = np.where(best.sum(axis=1) == 1, best.argmax(axis=1), first)
    labels = np.where(first < 0, -1, labels)
    posterior, weights, model_weight = _weigh(opinions, predicted, labels)
    posterior[labels < 0] = 1 / posterior.shape[1]
    return Consensus(posterior, labels, weights, model_weight)


def _weigh(opinions: Opinions, predicted: Doubles, labels: Indices) -> tuple[Doubles, Doubles, float]:
    """Posterior [n, c], the annotators' weights and the model's, for the consensus ``labels`` (-1: no answer)."""
    classes, counts = predicted.shape[1], opinions.per_record
    several, answered = counts > 1, counts > 0
    agreeing = np.bincount(opinions.record, opinions.label == labels[opinions.record], opinions.size)
    right = float((agreeing[several] / counts[several]).mean())
    commonest = np.bincount(labels[several], minlength=classes).argmax()
    base_error = max(float((labels[several] != commonest).mean()), LEAST)
    weights = np.maximum(1 - (1 - agreement_with_others(opinions)) / base_error, LEAST)
    model_error = float((predicted[several].argmax(axis=1) != labels[several]).mean())
    model_weight = max(1 - model_error / base_error, LEAST) * float(np.sqrt(counts[answered].mean()))
    weight = weights[opinions.annotator]
    total = np.bincount(opinions.record, weight, opinions.size)
    given = np.bincount(opinions.record * classes + opinions.label, weight, opinions.size * classes)
    given = given.reshape(-1, classes)
    wrong = (1 - right) / (classes - 1)
    posterior: Doubles = predicted * model_weight + given * right + (total[:, None] - given) * wrong
    posterior /= (total + model_weight)[:, None]
    return posterior, weights, model_weight


def agreement_with_others(opinions: Opinions) -> Doubles:
    """float64 [annotators]: in how many of 1 of all pairs of answers about one record the other one said the same.

    Who shares no record with anybody gets the mean of those who do.
    """
    others = opinions.per_record[opinions.record] - 1
    same = opinions.votes[opinions.record, opinions.label] - 1
    people = len(opinions.annotators)
    pairs = np.bincount(opinions.annotator, others, people)
    known = pairs > 0
    agreement: Doubles = np.bincount(opinions.annotator, same, people) / np.maximum(pairs, 1)
    agreement[~known] = agreement[known].mean()
    return agreement


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
