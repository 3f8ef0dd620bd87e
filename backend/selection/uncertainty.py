"""Strategies that ask where the model doubts. Survey: B. Settles, Active Learning Literature Survey, 2009, §3.1.

All scores lie in [0, 1]: 0 is certain, 1 is as doubtful as can be. They are computed in blocks of rows that
stay in the processor's cache, with no sort and no copy of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Activation

from .base import Floats, Indices, Pool, check_request, top_k
from .registry import register

_BLOCK = 16_384  # rows
_Measure: TypeAlias = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class _Uncertainty:
    """The common half: score in blocks, take the top."""

    name: ClassVar[str]
    measures: ClassVar[Mapping[Activation, _Measure]]

    def score(self, pool: Pool) -> Floats:
        """float32 [n] in [0, 1], higher is more doubtful."""
        measure = type(self).measures[pool.activation]
        scores: Floats = np.empty(len(pool), dtype=np.float32)
        for start in range(0, len(pool), _BLOCK):
            block = slice(start, start + _BLOCK)
            values = measure(np.asarray(pool.probabilities[block], dtype=np.float32))
            scores[block] = np.minimum(np.maximum(values, 0.0), 1.0)
        return scores

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the highest scores first, ties in random order."""
        check_request(pool, k)
        return top_k(self.score(pool), k, rng)


def _xlogx(p: Floats) -> Floats:
    # 0 log 0 is 0; the smallest normal number stands in for 0 inside the logarithm.
    return np.asarray(p * np.log(np.maximum(p, np.finfo(np.float32).tiny)), dtype=np.float32)


def _entropy(p: Floats) -> Floats:
    classes = p.shape[1]
    if classes < 2:
        return np.zeros(len(p), dtype=np.float32)
    return np.asarray(-np.sum(_xlogx(p), axis=1) / np.log(classes), dtype=np.float32)


def _label_entropy(p: Floats) -> Floats:
    return np.asarray(-np.mean(_xlogx(p) + _xlogx(1 - p), axis=1) / np.log(2), dtype=np.float32)


def _margin(p: Floats) -> Floats:
    # Column by column: a maximum along short rows is several times slower.
    first = np.full(len(p), -np.inf, dtype=np.float32)
    second = np.zeros(len(p), dtype=np.float32)
    for column in p.T:
        np.maximum(second, np.minimum(first, column), out=second)
        np.maximum(first, column, out=first)
    return 1 - (first - second)


def _label_margin(p: Floats) -> Floats:
    return np.asarray(1 - np.min(np.abs(2 * p - 1), axis=1), dtype=np.float32)


def _least_confidence(p: Floats) -> Floats:
    first = np.full(len(p), -np.inf, dtype=np.float32)
    for column in p.T:
        np.maximum(first, column, out=first)
    classes = p.shape[1]
    return (1 - first) * np.float32(classes / (classes - 1)) if classes > 1 else 1 - first


def _label_least_confidence(p: Floats) -> Floats:
    return np.asarray(1 - np.prod(np.maximum(p, 1 - p), axis=1), dtype=np.float32)


@register("entropy")
@dataclass(frozen=True, slots=True)
class Entropy(_Uncertainty):
    """The entropy of the prediction (Shannon, 1948) over its maximum; several labels: the mean over labels."""

    name: ClassVar[str] = "entropy"
    measures: ClassVar[Mapping[Activation, _Measure]] = {SOFTMAX: _entropy, SIGMOID: _label_entropy}


@register("margin")
@dataclass(frozen=True, slots=True)
class Margin(_Uncertainty):
    """One minus the lead of the best class over the second (Scheffer, Decomain and Wrobel, IDA 2001).

    Several labels: the label nearest to even odds decides (Brinker, On Active Learning in Multi-label
    Classification, 2006).
    """

    name: ClassVar[str] = "margin"
    measures: ClassVar[Mapping[Activation, _Measure]] = {SOFTMAX: _margin, SIGMOID: _label_margin}


@register("least-confidence")
@dataclass(frozen=True, slots=True)
class LeastConfidence(_Uncertainty):
    """The chance that the best guess is wrong (Lewis and Gale, SIGIR 1994) over its maximum.

    Several labels: the chance that the most likely set of labels is not the right one.
    """

    name: ClassVar[str] = "least-confidence"
    measures: ClassVar[Mapping[Activation, _Measure]] = {SOFTMAX: _least_confidence, SIGMOID: _label_least_confidence}
