"""TypiClust: for the first labels, the most typical record of each part of the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, check_request, to_unit
from .clusters import k_means, squared_distances
from .registry import register

_SMALL = 5  # records; a smaller cluster waits until the others have had their turn, as in the paper
_MOST_LABELLED = 2_000


@register("typiclust")
@dataclass(frozen=True, slots=True)
class TypiClust:
    """The most typical record of each cluster, those clusters first that hold the fewest labels, then the largest.

    Hacohen, Dekel and Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, ICML
    2022. As many clusters as there are labels and picks, up to ``clusters``, of labelled and unlabelled records;
    typical is what has the smallest mean distance to its ``neighbours`` nearest in the cluster. Beyond one pick a
    cluster it goes round again. Works on a random ``subset`` of the pool; beyond that many picks it goes on at random.
    """

    subset: int = 10_000
    clusters: int = 500
    neighbours: int = 20

    name: ClassVar[str] = "typiclust"

    def __post_init__(self) -> None:
        if min(self.subset, self.clusters, self.neighbours) < 1:
            raise ValueError("subset, clusters and neighbours must be at least 1")

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k]; does not look at predictions."""
        check_request(pool, k)
        if k == 0:
            return np.empty(0, dtype=np.int64)
        order = rng.permutation(len(pool)).astype(np.int64, copy=False)
        among, rest = order[: self.subset], order[self.subset :]
        with one_blas_thread():
            picks = self._picks(pool.unit_vectors(among), _labelled(pool, rng), min(k, len(among)), rng)
        return np.concatenate([among[picks], rest[: k - len(picks)]])

    def _picks(self, vectors: Floats, labelled: Floats, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] rows of ``vectors`` float32 [m, d], which come in random order: the first of equals will do."""
        count = min(self.clusters, len(labelled) + k)
        both = np.concatenate([vectors, labelled]) if len(labelled) else vectors
        cluster = k_means(both, count, rng)
        own, covered = cluster[: len(vectors)], cluster[len(vectors) :]
        sizes = np.bincount(own, minlength=count)
        labels = np.bincount(covered, minlength=count)
        turns = np.lexsort((-sizes, labels, sizes < _SMALL))
        turns = turns[sizes[turns] > 0][:k]  # with k clusters that hold a record, there is one pick from each
        places = np.full(count, -1, dtype=np.int64)
        places[turns] = np.arange(len(turns))
        rows, rounds = [], []
        for one in turns:
            members = np.flatnonzero(own == one)
            best = np.argsort(_spread(vectors[members], self.neighbours), kind="stable")[:k]
            rows.append(members[best])
            rounds.append(np.arange(len(best)))
        flat, turn = np.concatenate(rows), np.concatenate(rounds)
        return np.asarray(flat[np.lexsort((places[own[flat]], turn))[:k]], dtype=np.int64)


def _labelled(pool: Pool, rng: np.random.Generator) -> Floats:
    """float32 [at most 2,000, d] of length 1."""
    vectors = pool.labelled_vectors
    if len(vectors) > _MOST_LABELLED:
        vectors = vectors[rng.choice(len(vectors), _MOST_LABELLED, replace=False)]
    return to_unit(vectors)


def _spread(vectors: Floats, neighbours: int) -> Floats:
    """float32 [m]: the mean distance to the nearest ``neighbours``, small for what is typical."""
    near = min(neighbours, len(vectors) - 1)
    spread: Floats = np.zeros(len(vectors), dtype=np.float32)
    if near < 1:
        return spread
    for rows, squares in squared_distances(vectors):
        nearest = np.partition(squares, near, axis=1)[:, : near + 1]  # with the record itself, at 0
        spread[rows] = np.sqrt(nearest).sum(axis=1) / near
    return spread
