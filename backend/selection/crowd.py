"""How sure one can be of the label of a record, from the answers of several annotators and a model: CROWDLAB.

Goh, Tkachenko and Mueller, CROWDLAB: Supervised learning to infer consensus labels and quality scores for data with
multiple annotators, NeurIPS 2022 Human in the Loop Learning Workshop. The reference is cleanlab, which gives the same
numbers; here answers are sparse, and nothing is read record by record, so that it can run after every label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .base import Indices

Doubles: TypeAlias = npt.NDArray[np.float64]

_LEAST = 1e-6  # weight of an annotator or model that does no better than the commonest class
_TINY = 1e-30  # probability, inside logarithms
_COARSE = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)  # temperatures
_STEPS = 4  # between two of them, in the second search


@dataclass(frozen=True, slots=True)
class Answers:
    """Classes that ``annotators`` answered, int64 [a] each, about ``size`` records that have at least one answer."""

    records: Indices
    annotators: Indices
    answers: Indices
    size: int
    classes: int

    def per_record(self, values: npt.NDArray[np.floating] | None = None) -> Doubles:
        """float64 [size]: the sum of ``values`` [a] over the answers of each record, or how many there are."""
        return np.bincount(self.records, values, self.size).astype(np.float64)

    def counts(self, weights: Doubles | None = None) -> Doubles:
        """float64 [size, classes]: how often each class was answered, or the sum of ``weights`` [a]."""
        cells = np.bincount(self.records * self.classes + self.answers, weights, self.size * self.classes)
        return cells.reshape(self.size, self.classes).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Confidence:
    """``quality`` float64 [size]: how likely the consensus of each record is right; and what each voice weighs.

    ``answer_weights`` float64 [a]; ``model_weight``; ``mean_annotator_weight``; ``temperature`` of the predictions.
    """

    quality: Doubles
    answer_weights: Doubles
    model_weight: float = 1.0
    mean_annotator_weight: float = 1.0
    temperature: float = 1.0


def confidence(answers: Answers, p: Doubles) -> Confidence:
    """CROWDLAB for ``answers`` and predictions float64 [size, classes]; needs two classes.

    While no record has two answers, nothing tells how good anybody is: the quality is then the model's own, and every
    voice weighs 1.
    """
    number = answers.per_record()
    if number.max(initial=0) < 2:
        only = _majority(answers, p)
        return Confidence(p[np.arange(len(p)), only], np.ones(len(answers.records)))
    temperature = best_temperature(answers, p)
    p = at_temperature(p, temperature)
    majority = _majority(answers, p)
    first, _, _ = _posterior(answers, p, number, majority)
    tied = (first == first.max(axis=1, keepdims=True)).sum(axis=1) > 1
    label = np.where(tied, majority, first.argmax(axis=1))
    posterior, weights, model_weight = _posterior(answers, p, number, label)
    return Confidence(
        posterior[np.arange(len(p)), label],
        weights[answers.annotators],
        model_weight,
        _mean(answers, weights),
        temperature,
    )


def _mean(answers: Answers, weights: Doubles) -> float:
    """Over annotators who answered anything."""
    return float(weights[np.unique(answers.annotators)].mean())


def _majority(answers: Answers, p: Doubles) -> Indices:
    """int64 [size]: the class answered most; of equals the likelier by the model, then the rarer, then the first."""
    counts = answers.counts()
    best = counts == counts.max(axis=1, keepdims=True)
    frequency = counts.sum(axis=0)
    for values in (p, np.broadcast_to(-frequency, p.shape)):
        allowed = np.where(best, values, -np.inf)
        best = allowed == allowed.max(axis=1, keepdims=True)
    return np.asarray(best.argmax(axis=1), dtype=np.int64)


def _posterior(answers: Answers, p: Doubles, number: Doubles, label: Indices) -> tuple[Doubles, Doubles, float]:
    """[size, classes] probabilities given the consensus ``label``, weights of annotators by number, and the model's."""
    shared = number > 1
    agrees = (answers.answers == label[answers.records]).astype(np.float64)
    hit = float((answers.per_record(agrees) / number)[shared].mean())
    miss = (1 - hit) / (answers.classes - 1)
    commonest = np.bincount(label[shared], minlength=answers.classes).argmax()
    chance = max(float((label[shared] != commonest).mean()), _LEAST)  # the error of always saying the commonest
    weights = np.maximum(1 - (1 - _agreement(answers, number)) / chance, _LEAST)
    error = float((p[shared].argmax(axis=1) != label[shared]).mean())
    model_weight = max(1 - error / chance, _LEAST) * float(np.sqrt(number.mean()))
    voices = weights[answers.annotators]
    said, total = answers.counts(voices), answers.per_record(voices)
    posterior = p * model_weight + said * hit + (total[:, None] - said) * miss
    return posterior / (total + model_weight)[:, None], weights, model_weight


def _agreement(answers: Answers, number: Doubles) -> Doubles:
    """float64 by annotator: how often the others who answered the same records said the same.

    One who shares no record with others gets the mean of the rest.
    """
    same = answers.counts()[answers.records, answers.answers] - 1
    others = number[answers.records] - 1
    same_by = np.bincount(answers.annotators, same)
    others_by = np.bincount(answers.annotators, others)
    rate = same_by / np.maximum(others_by, 1)
    return np.where(others_by > 0, rate, rate[others_by > 0].mean())


def best_temperature(answers: Answers, p: Doubles) -> float:
    """The temperature at which ``p`` is nearest to what annotators answered: a coarse search and a fine one."""
    counts = answers.counts()
    shares = counts / counts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        logits = np.log(p)

    def loss(temperature: float) -> float:
        scaled = np.exp(logits / temperature)
        scaled /= scaled.sum(axis=1, keepdims=True)
        return float(-(shares * np.log(np.maximum(scaled, _TINY))).sum(axis=1).mean())

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
    logits = np.log(np.maximum(p, _TINY))
    scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), dtype=np.float64)
