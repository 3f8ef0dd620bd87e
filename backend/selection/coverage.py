"""ProbCover: for the first labels, records whose surroundings hold the most that no label is near to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, check_request, to_unit
from .clusters import k_means, squared_distances
from .registry import register

_MOST_LABELLED = 2_000


@register("probcover")
@dataclass(frozen=True, slots=True)
class ProbCover:
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
        if self.subset < 1:
            raise ValueError("subset must be at least 1")
        if not 0 < self.purity < 1:
            raise ValueError("purity is a share between 0 and 1")
        if self.radius is not None and not self.radius > 0:
            raise ValueError("radius must be above 0; leave it out to have it estimated")

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k]; does not look at predictions."""
        check_request(pool, k)
        order = rng.permutation(len(pool)).astype(np.int64, copy=False)
        among, rest = order[: self.subset], order[self.subset :]
        vectors = pool.unit_vectors(among)
        with one_blas_thread():
            radius = self.radius
            if radius is None:
                clusters = k_means(vectors, max(pool.probabilities.shape[1], 2), rng)
                radius = pure_radius(vectors, clusters, self.purity)
            covered = _near_labels(pool, vectors, radius, rng)
            picks = _cover(_edges(vectors, radius), covered, min(k, len(among)))
        return np.concatenate([among[picks], rest[: k - len(picks)]])


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


def _edges(vectors: Floats, radius: float) -> npt.NDArray[np.bool_]:
    """bool [m, m]: who is within the radius of whom."""
    edges = np.empty((len(vectors), len(vectors)), dtype=np.bool_)
    for rows, squares in squared_distances(vectors):
        np.less_equal(squares, radius * radius, out=edges[rows])
    return edges


def _near_labels(pool: Pool, vectors: Floats, radius: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """bool [m]: which of ``vectors`` are within the radius of a labelled record."""
    labelled = pool.labelled_vectors
    if len(labelled) == 0:
        return np.zeros(len(vectors), dtype=np.bool_)
    if len(labelled) > _MOST_LABELLED:
        labelled = labelled[rng.choice(len(labelled), _MOST_LABELLED, replace=False)]
    centres = to_unit(labelled)
    squares = (vectors**2).sum(axis=1) + ((centres**2).sum(axis=1)[:, None] - 2 * (centres @ vectors.T))
    return np.asarray(squares.min(axis=0) <= radius * radius, dtype=np.bool_)


def _cover(edges: npt.NDArray[np.bool_], covered: npt.NDArray[np.bool_], k: int) -> Indices:
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
