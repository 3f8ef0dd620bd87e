"""For the first labels, when a model's doubts mean little: records that are typical of the pool, or cover it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, at_least, check_request
from .distances import k_means, nearest_labelled, some_labelled, squared_distances
from .registry import register

_SMALL = 5  # records; a smaller cluster waits until the others have had their turn, as in the paper
_BLOCK = 32


class _OfSubset(ABC):
    """Chooses from a random ``subset`` of the pool; beyond that many picks it goes on at random."""

    __slots__ = ()
    subset: int

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the best first; does not look at predictions."""
        check_request(pool, k)
        if k == 0:
            return np.empty(0, dtype=np.int64)
        order = rng.permutation(len(pool)).astype(np.int64, copy=False)
        among, rest = order[: self.subset], order[self.subset :]
        vectors = pool.unit_vectors(among)
        with one_blas_thread():
            picks = self._picks(pool, vectors, min(k, len(among)), rng)
        return np.concatenate([among[picks], rest[: k - len(picks)]])

    @abstractmethod
    def _picks(self, pool: Pool, vectors: Floats, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] rows of ``vectors`` float32 [m, d], which come in random order: the first of equals will do."""


@register("typiclust")
@dataclass(frozen=True, slots=True)
class TypiClust(_OfSubset):
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
        at_least(1, subset=self.subset, clusters=self.clusters, neighbours=self.neighbours)

    @override
    def _picks(self, pool: Pool, vectors: Floats, k: int, rng: np.random.Generator) -> Indices:
        labelled = some_labelled(pool, rng)
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


@register("probcover")
@dataclass(frozen=True, slots=True)
class ProbCover(_OfSubset):
    """Greedily the record with the most others within a radius that are not within it of a label or a pick.

    Yehuda, Dekel, Hacohen and Weinshall, Active Learning Through a Covering Lens, NeurIPS 2022. ``radius`` is a
    distance between vectors of length 1; without one it is the largest at which the share ``purity`` of the records
    has nothing of another cluster within it, with as many clusters as there are classes. Works on a random ``subset``
    of the pool (memory: subset² bytes); once all is covered, and beyond the subset, it goes on at random.
    """

    subset: int = 5_000
    purity: float = 0.95
    radius: float | None = None

    name: ClassVar[str] = "probcover"

    def __post_init__(self) -> None:
        at_least(1, subset=self.subset)
        if not 0 < self.purity < 1:
            raise ValueError("purity is a share between 0 and 1")
        if self.radius is not None and not self.radius > 0:
            raise ValueError("radius must be above 0; leave it out to have it estimated")

    @override
    def _picks(self, pool: Pool, vectors: Floats, k: int, rng: np.random.Generator) -> Indices:
        radius = self.radius
        if radius is None:
            clusters = k_means(vectors, max(pool.probabilities.shape[1], 2), rng)
            radius = pure_radius(vectors, clusters, self.purity)
        edges = np.empty((len(vectors), len(vectors)), dtype=np.bool_)  # who is within the radius of whom
        covered = _near_labels(some_labelled(pool, rng), vectors, radius)
        for rows, squares in squared_distances(vectors):
            np.less_equal(squares, radius * radius, out=edges[rows])
        return _cover_edges(edges, covered, k)


def pure_radius(vectors: Floats, clusters: Indices, purity: float) -> float:
    """The largest radius at which the share ``purity`` of [m, d] has nothing of another cluster within it.

    Infinite if there is one cluster only. What the paper finds on a grid: a quantile of the distances to the nearest
    record of another cluster.
    """
    nearest = np.empty(len(vectors), dtype=np.float32)
    for rows, squares in squared_distances(vectors):
        squares[clusters[rows, None] == clusters] = np.inf
        nearest[rows] = squares.min(axis=1)
    border = np.sqrt(np.quantile(nearest, 1 - purity, method="lower"))
    return float(np.nextafter(border, np.float32(0))) if np.isfinite(border) else np.inf


def _near_labels(centres: Floats, vectors: Floats, radius: float) -> npt.NDArray[np.bool_]:
    """bool [m]: which of ``vectors`` are within the radius of a labelled record."""
    if len(centres) == 0:
        return np.zeros(len(vectors), dtype=np.bool_)
    squares = (vectors**2).sum(axis=1) + ((centres**2).sum(axis=1)[:, None] - 2 * (centres @ vectors.T))
    return np.asarray(squares.min(axis=0) <= radius * radius, dtype=np.bool_)


def _cover_edges(edges: npt.NDArray[np.bool_], covered: npt.NDArray[np.bool_], k: int) -> Indices:
    """int64 [k]: greedily the row with the most uncovered neighbours; the first of equals, so the last ones in order.

    Each record is covered once, so all updates together read the matrix once.
    """
    degrees = edges[~covered].sum(axis=0, dtype=np.int64)
    chosen = np.empty(k, dtype=np.int64)
    for count in range(k):
        pick = int(np.argmax(degrees))
        news = np.flatnonzero(edges[pick] & ~covered)
        degrees -= edges[news].sum(axis=0, dtype=np.int64)
        covered = covered | edges[pick]
        degrees[pick] = -len(edges) - 1  # chosen
        chosen[count] = pick
    return chosen


@register("representative")
@dataclass(frozen=True, slots=True)
class Representative(_OfSubset):
    """Facility location: each pick adds the most to how well the pool is covered by labelled records and picks.

    Wei, Iyer and Bilmes, Submodularity in Data Subset Selection and Active Learning, ICML 2015. Works on a
    random ``subset`` of the pool (memory: 4 bytes x subset²); beyond that many picks it goes on at random.
    """

    subset: int = 2_000

    name: ClassVar[str] = "representative"

    def __post_init__(self) -> None:
        at_least(1, subset=self.subset)

    @override
    def _picks(self, pool: Pool, vectors: Floats, k: int, rng: np.random.Generator) -> Indices:
        """Greedily the largest sum of ``max(cosine - covered, 0)``; lazy, as such gains can only fall."""
        covered = np.maximum(nearest_labelled(pool, vectors, rng), 0)
        cosines = np.maximum(vectors @ vectors.T, 0)
        gains = np.maximum(cosines - covered, 0).sum(axis=1)
        seen = np.zeros(len(vectors), dtype=np.int64)
        chosen = np.empty(k, dtype=np.int64)
        for count in range(k):
            best = int(np.argmax(gains))
            while seen[best] < count:
                size = min(_BLOCK, len(gains))
                block = np.argpartition(gains, len(gains) - size)[len(gains) - size :]
                block = block[(seen[block] < count) & (gains[block] > -np.inf)]
                block = np.append(block, best)  # among ties it may lie outside
                gains[block] = np.maximum(cosines[block] - covered, 0).sum(axis=1)
                seen[block] = count
                best = int(np.argmax(gains))
            chosen[count] = best
            covered = np.maximum(covered, cosines[best])
            gains[best] = -np.inf
        return chosen
