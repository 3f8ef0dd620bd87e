"""AnchorAL: a small pool around a few labelled records of every class, so that rare ones are not drowned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.blas import one_blas_thread
from nextlabel.connectors.errors import SelectionError

from .base import Floats, Indices, Pool, check_request, to_unit, top_k
from .likely import RAREST, check_positive, found_positives, positive_label
from .neighbours import base_strategy, first_among, nearest
from .registry import register


@register("anchor")
@dataclass(frozen=True, slots=True)
class Anchor:
    """Another strategy within the ``subpool`` records most similar to anchors, which every class has as many of.

    Lesci and Vlachos, AnchorAL: Computationally Efficient Active Learning for Large and Imbalanced Datasets,
    NAACL 2024. Up to ``anchors`` labelled records a class, spread out by k-means++ (Arthur and Vassilvitskii, SODA
    2007); each finds its ``neighbours`` nearest records, and these are ranked by their mean cosine to the anchors
    that found them. ``positive`` only matters to a ``base`` that is ``certainty``.
    """

    anchors: int = 10
    neighbours: int = 50
    subpool: int = 1_000
    base: str = "entropy"
    positive: int = RAREST

    name: ClassVar[str] = "anchor"

    def __post_init__(self) -> None:
        check_positive(self.positive)
        if min(self.anchors, self.neighbours, self.subpool) < 1:
            raise ValueError("anchors, neighbours and subpool must be at least 1")
        base_strategy(self.base, self.positive)

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] in the order of the base strategy."""
        check_request(pool, k)
        base = base_strategy(self.base, positive_label(pool, self.positive))
        if k == 0 or len(pool.labelled_targets) == 0:
            return base.query(pool, k, rng)
        if len(pool.labelled_vectors) != len(pool.labelled_targets):
            raise SelectionError("anchors are labelled records; give the pool their vectors")
        found, cosines = nearest(pool, self._anchors(pool, rng), self.neighbours)
        among, where = np.unique(found, return_inverse=True)
        weights = cosines.ravel()
        mean = np.bincount(where.ravel(), weights) / np.bincount(where.ravel())
        best = top_k(mean.astype(np.float32), min(self.subpool, len(among)), rng)
        return first_among(pool, among[best], base, k, rng)

    def _anchors(self, pool: Pool, rng: np.random.Generator) -> Floats:
        """float32 [a, d]: those of all classes, each once."""
        vectors = to_unit(pool.labelled_vectors)
        rows = []
        for label in range(pool.probabilities.shape[1]):
            places = np.flatnonzero(found_positives(pool, label))
            if len(places):
                with one_blas_thread():
                    rows.append(places[_spread(vectors[places], self.anchors, rng)])
        # Several labels may all be absent from every record: then any of them will do.
        chosen = np.unique(np.concatenate(rows)) if rows else rng.permutation(len(vectors))[: self.anchors]
        return np.asarray(vectors[chosen], dtype=np.float32)


def _spread(vectors: Floats, count: int, rng: np.random.Generator) -> Indices:
    """int64 [min(count, m)]: k-means++ seeds; stops early when all the others are copies of a seed."""
    chosen = [int(rng.integers(len(vectors)))]
    distance = np.maximum(1 - vectors @ vectors[chosen[0]], 0).astype(np.float64)
    while len(chosen) < min(count, len(vectors)):
        distance[chosen] = 0
        total = distance.sum()
        if total <= 1e-6 * len(vectors):
            break
        pick = int(rng.choice(len(vectors), p=distance / total))
        chosen.append(pick)
        distance = np.minimum(distance, np.maximum(1 - vectors @ vectors[pick], 0))
    return np.array(chosen, dtype=np.int64)
