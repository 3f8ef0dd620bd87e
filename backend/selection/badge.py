"""BADGE: doubt and diversity in one distance, that between gradients of the last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, check_request
from .registry import register


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
        if self.subset < 1:
            raise ValueError("subset must be at least 1")

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] in the order of the seeding."""
        check_request(pool, k)
        size = min(len(pool), max(self.subset, 10 * k))
        among = rng.choice(len(pool), size, replace=False).astype(np.int64, copy=False)
        vectors = pool.unit_vectors(among)
        with one_blas_thread():
            return among[_seeds(_residuals(pool, among), vectors, k, rng)]


def _residuals(pool: Pool, among: Indices) -> Floats:
    """float32 [m, c]: prediction minus guess."""
    p = np.nan_to_num(np.asarray(pool.probabilities[among], dtype=np.float32))
    return p - pool.activation.decided(p)


def _seeds(residuals: Floats, vectors: Floats, k: int, rng: np.random.Generator) -> Indices:
    """int64 [k]: the longest gradient first, then with chances as the squared distance to the nearest chosen."""
    lengths = np.einsum("ij,ij->i", residuals, residuals) * np.einsum("ij,ij->i", vectors, vectors)
    distance = np.full(len(vectors), np.inf)
    free = np.ones(len(vectors), dtype=bool)
    chosen = np.empty(k, dtype=np.int64)
    for count in range(k):
        if count == 0:
            pick = int(np.argmax(lengths))
        else:
            odds = np.where(free, distance, 0.0)
            # Nothing but copies of the chosen is left: any free one will do.
            odds = odds if odds.sum() > 0 else free.astype(np.float64)
            pick = int(rng.choice(len(odds), p=odds / odds.sum()))
        chosen[count] = pick
        free[pick] = False
        products = (residuals @ residuals[pick]) * (vectors @ vectors[pick])
        distance = np.minimum(distance, np.maximum(lengths + lengths[pick] - 2.0 * products, 0.0))
    return chosen
