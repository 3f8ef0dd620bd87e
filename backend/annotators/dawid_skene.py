"""Dawid and Skene's model: everybody has a confusion matrix, found together with the true labels by EM.

A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm", Applied
Statistics, 1979. With few answers an annotator's own matrix is mostly chance, so ``pooled`` answers of the average
annotator are added to everybody's. A model's predictions break ties and do no more: as prior of each record (Raykar et
al., "Learning from crowds", JMLR 2010) they made the model believe itself, and 13 points worse, on politeness.
"""

from __future__ import annotations

import numpy as np

from .base import Consensus, majority_labels
from .opinions import Doubles, Opinions

POOLED = 10.0
ROUNDS, TOLERANCE = 100, 1e-5
TINY = 1e-10
EQUAL = 1e-9  # beliefs that differ by rounding only
SMOOTH = 1.0  # answers for and against each label in the average annotator's matrix


def dawid_skene(opinions: Opinions, predicted: Doubles | None = None, *, pooled: float = POOLED) -> Consensus:
    """The consensus of ``opinions``; ``predicted`` float64 [n, c] breaks ties. ``pooled=0`` is the model of 1979."""
    given = opinions.votes
    answered = given.sum(axis=1) > 0
    belief = given / np.maximum(given.sum(axis=1, keepdims=True), 1)
    before = -np.inf
    # A lone answer is confirmed by nobody but the belief that it made itself: left in, it teaches that its author is
    # always right, and classes grow at each other's cost. The model of 1979 has no choice, it needs every answer.
    several = given.sum(axis=1) > 1
    teaching = several if pooled > 0 and several.any() else answered
    for _ in range(ROUNDS):
        errors = np.log(confusion(opinions, belief * teaching[:, None], pooled))
        shares = belief[teaching].mean(axis=0) if teaching.any() else np.ones(belief.shape[1])
        scores = np.tile(np.log(np.maximum(shares, TINY)), (opinions.size, 1))
        np.add.at(scores, opinions.record, errors[opinions.annotator, :, opinions.label])
        highest = scores.max(axis=1, keepdims=True)
        odds = np.exp(scores - highest)
        belief = odds / odds.sum(axis=1, keepdims=True)
        belief[~answered] = 0.0  # teaches nobody's matrix
        likelihood = float((highest[:, 0] + np.log(odds.sum(axis=1)))[answered].mean()) if answered.any() else 0.0
        if abs(likelihood - before) < TOLERANCE:
            break
        before = likelihood
    best = belief > belief.max(axis=1, keepdims=True) - EQUAL
    labels = np.where(best.sum(axis=1) == 1, best.argmax(axis=1), majority_labels(opinions, predicted))
    belief[~answered] = 1 / belief.shape[1]
    return Consensus(belief, np.where(answered, labels, -1))


def confusion(opinions: Opinions, belief: Doubles, pooled: float = POOLED) -> Doubles:
    """float64 [annotators, c, c]: how likely each annotator gives label l where k is right, given ``belief`` [n, c].

    ``pooled`` is how many answers of the average annotator count beside everybody's own, for each k.
    """
    people, classes = len(opinions.annotators), len(opinions.labels)
    counts: Doubles = np.zeros((people, classes, classes))
    np.add.at(counts.transpose(0, 2, 1), (opinions.annotator, opinions.label), belief[opinions.record])
    if pooled > 0:
        average = counts.sum(axis=0) + SMOOTH
        counts += pooled * average / average.sum(axis=1, keepdims=True)
    counts = np.maximum(counts, TINY)
    shares: Doubles = counts / counts.sum(axis=2, keepdims=True)
    return shares
