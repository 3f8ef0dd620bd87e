"""Strategies that look at records together: doubtful ones, but no two alike.

A queue is worked off by several people at once and republished after every label, so its head matters most:
the first three must be worth asking and must not be near-duplicates of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.blas import one_blas_thread
from nextlabel.connectors.errors import ConfigError

from .base import Floats, Indices, Pool, ScoringStrategy, at_least, check_request, top_k
from .distances import nearest_labelled, seeds_apart
from .registry import get_strategy, register

_FRONT = 1_024  # candidates kept fresh


def farthest_first(
    vectors: Floats, weights: Floats, k: int, nearest: Floats | None = None, floor: float = 0.0
) -> Indices:
    """int64 [k]: greedily the highest ``weight * (1 - cosine to the nearest one chosen before)``.

    ``vectors`` float32 [m, d] of length 1, ``weights`` float32 [m] above 0, ``nearest`` float32 [m] the cosine
    to what was chosen earlier; a cosine below ``floor`` counts as that. Exact, but lazy: a gain can only fall
    (Minoux, Accelerated Greedy Algorithms, 1978), so while the best of a small front beats the old gains of all
    others, only the front is kept fresh.
    """
    similarity: Floats = np.full(len(vectors), floor, dtype=np.float32)
    if nearest is not None:
        similarity = np.maximum(similarity, nearest)
    chosen = np.empty(k, dtype=np.int64)
    count = 0
    while count < k:
        gains = weights * (1 - similarity)
        front, rest = _split(gains)
        before = count
        count = _exhaust(vectors, weights, similarity, front, rest, chosen, count)
        late = vectors @ vectors[chosen[before:count]].T
        similarity = np.maximum(similarity, late.max(axis=1))
        similarity[chosen[:count]] = np.inf
    return chosen


def _split(gains: Floats) -> tuple[Indices, float]:
    """The places of the highest gains, and the highest of the rest."""
    cut = len(gains) - _FRONT
    if cut <= 0:
        return np.arange(len(gains), dtype=np.int64), -np.inf
    order = np.argpartition(gains, cut)
    return order[cut:], float(gains[order[:cut]].max())


def _exhaust(
    vectors: Floats, weights: Floats, similarity: Floats, front: Indices, rest: float, chosen: Indices, count: int
) -> int:
    """Choose from the front for as long as it holds the best; write to ``chosen``, return how many there are."""
    vectors, weights, similarity = vectors[front], weights[front], similarity[front]
    start = count
    while count < len(chosen):
        gains = weights * (1 - similarity)
        best = int(np.argmax(gains))
        if count > start and gains[best] < rest:
            break
        chosen[count] = front[best]
        count += 1
        similarity = np.maximum(similarity, vectors @ vectors[best])
        similarity[best] = np.inf
    return count


@dataclass(frozen=True, slots=True)
class _Diverse:
    """Shortlist the top of a scorer, then order the shortlist so that doubt and distance both count.

    The shortlist holds ``max(top * k, least)`` records. ``power`` is the weight of the score against the
    distance: 0 ignores the score within the shortlist. ``avoid_labelled`` keeps away from labelled records too.
    Records whose cosine is below ``floor`` are as far apart as matters.
    """

    scorer: str = "margin"
    top: int = 10
    least: int = 500
    power: float = 1.0
    avoid_labelled: bool = False
    floor: float = 0.0

    name: ClassVar[str]

    def __post_init__(self) -> None:
        at_least(1, top=self.top, least=self.least)
        if self.power < 0:
            raise ValueError("power can't be negative")
        if not -1 <= self.floor < 1:
            raise ValueError("floor is a cosine below 1")
        self._scorer()

    def _scorer(self) -> ScoringStrategy:
        strategy = get_strategy(self.scorer)
        if not isinstance(strategy, ScoringStrategy):
            raise ConfigError(f"strategy {self.scorer} gives no score to build on; try margin or entropy")
        return strategy

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], greedily: each is the best given those before it."""
        check_request(pool, k)
        scores = self._scorer().score(pool)
        shortlist = top_k(scores, min(len(pool), max(self.top * k, self.least)), rng)
        vectors = pool.unit_vectors(shortlist)
        with one_blas_thread():
            centres = self.avoid_labelled and len(pool.labelled_vectors) > 0
            nearest = nearest_labelled(pool, vectors, rng) if centres else None
            return shortlist[farthest_first(vectors, self._weights(scores[shortlist]), k, nearest, self.floor)]

    def _weights(self, scores: Floats) -> Floats:
        raised = np.nan_to_num(scores, nan=0.0, neginf=0.0)
        raised = raised - min(float(raised.min()), 0.0)  # a foreign scorer may go below zero
        return np.asarray(np.maximum(raised, 1e-6) ** self.power, dtype=np.float32)


@register("margin-diverse")
@dataclass(frozen=True, slots=True)
class MarginDiverse(_Diverse):
    """The smallest margins, but no two alike: gain = margin score x distance to the nearest one chosen.

    A greedy, score-weighted farthest-first traversal; kin to maximal marginal relevance (Carbonell and
    Goldstein, SIGIR 1998) and to the pre-filtered batches of Zhdanov (Diverse mini-batch Active Learning, 2019).
    Only likeness beyond ``floor`` counts: at 0 the distance outweighs the doubt, and what is chosen is odd rather than
    doubtful, which lost to chance on one of five data sets (docs/benchmarks.md).
    """

    floor: float = 0.8

    name: ClassVar[str] = "margin-diverse"


@register("k-center")
@dataclass(frozen=True, slots=True)
class KCenter(_Diverse):
    """k-center greedy within the shortlist, labelled records being centres already (Sener and Savarese, ICLR 2018)."""

    power: float = 0.0
    avoid_labelled: bool = True
    floor: float = -1.0  # exact: distance is all that counts

    name: ClassVar[str] = "k-center"


@register("badge")
@dataclass(frozen=True, slots=True)
class Badge:
    """k-means++ seeding on gradient embeddings (Ash et al., Deep Batch Active Learning, ICLR 2020).

    The gradient of the loss at the model's own guess is ``(p - guess) x vector``; it is never written out, as
    products of gradients are products of those of the parts. Works on a random ``max(subset, 10 k)`` records.
    """

    subset: int = 2_000

    name: ClassVar[str] = "badge"

    def __post_init__(self) -> None:
        at_least(1, subset=self.subset)

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] in the order of the seeding."""
        check_request(pool, k)
        size = min(len(pool), max(self.subset, 10 * k))
        among = rng.choice(len(pool), size, replace=False).astype(np.int64, copy=False)
        vectors = pool.unit_vectors(among)
        p = np.nan_to_num(np.asarray(pool.probabilities[among], dtype=np.float32))
        with one_blas_thread():
            return among[_gradient_seeds(p - pool.activation.decided(p), vectors, k, rng)]


def _gradient_seeds(residuals: Floats, vectors: Floats, k: int, rng: np.random.Generator) -> Indices:
    """int64 [k]: the longest gradient first, then with chances as the squared distance to the nearest chosen."""
    lengths = np.einsum("ij,ij->i", residuals, residuals) * np.einsum("ij,ij->i", vectors, vectors)

    def distances(place: int) -> Floats:
        products = (residuals @ residuals[place]) * (vectors @ vectors[place])
        return np.asarray(np.maximum(lengths + lengths[place] - 2.0 * products, 0.0), dtype=np.float32)

    chosen = seeds_apart(int(np.argmax(lengths)), k, distances, rng)
    while len(chosen) < k:  # nothing but copies of the chosen is left: any other will do
        others = np.ones(len(vectors))
        others[chosen] = 0
        chosen.append(int(rng.choice(len(others), p=others / others.sum())))
    return np.array(chosen[:k], dtype=np.int64)
