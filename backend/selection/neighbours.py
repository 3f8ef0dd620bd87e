"""The nearest records of a large pool, found block by block, and strategies that look only there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, QueryStrategy, check_request, to_unit
from .likely import RAREST, Certainty, check_positive, found_positives, positive_label
from .registry import get_strategy, register

BLOCK = 8_192  # rows of the pool that are read and compared together
MOST_QUERIES = 256  # records whose neighbours are looked for; more are drawn from


def nearest(pool: Pool, queries: Floats, count: int) -> tuple[Indices, Floats]:
    """The ``count`` records nearest to each of the ``queries``, in no order: int64 and their cosines, [q, count].

    ``queries`` float32 [q, d] of length 1. Exact: reads the whole pool once, 8,192 rows at a time, and holds no more
    than that. ``count`` is cut to the size of the pool. Raises SelectionError if the pool has no vectors.
    """
    count = min(count, len(pool))
    found: Indices = np.empty((len(queries), 0), dtype=np.int64)
    cosines: Floats = np.empty((len(queries), 0), dtype=np.float32)
    with one_blas_thread():
        for start in range(0, len(pool), BLOCK):
            rows: Indices = np.arange(start, min(start + BLOCK, len(pool)), dtype=np.int64)
            products = _cosines(queries, _vectors(pool, rows))
            if len(cosines.T) == count:  # most rows are near to nothing: leave them out before anything is sorted
                some = np.flatnonzero((products > cosines.min(axis=1, keepdims=True)).any(axis=0))
                rows, products = rows[some], products[:, some]
            cosines = np.concatenate([cosines, products], axis=1)
            found = np.concatenate([found, np.broadcast_to(rows, products.shape)], axis=1)
            if len(cosines.T) > count:
                top = np.argpartition(cosines, len(cosines.T) - count, axis=1)[:, len(cosines.T) - count :]
                cosines, found = np.take_along_axis(cosines, top, axis=1), np.take_along_axis(found, top, axis=1)
    return found, cosines


def _vectors(pool: Pool, rows: Indices) -> npt.NDArray[np.floating[Any]]:
    """As they are: bringing all to length 1 takes longer than comparing them."""
    return pool.unit_vectors(rows) if pool.vectors is None else pool.vectors.take(rows)


def _cosines(queries: Floats, vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """float32 [q, m]; -1 for vectors that are not finite, 0 for those of zeros."""
    single = np.asarray(vectors, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", single, single))
        products = (queries @ single.T) / np.maximum(lengths, np.float32(1e-12))
    products[~np.isfinite(products)] = -1.0
    return np.asarray(products, dtype=np.float32)


def first_among(pool: Pool, among: Indices, strategy: QueryStrategy, k: int, rng: np.random.Generator) -> Indices:
    """int64 [k]: what ``strategy`` chooses within ``among``; if they are too few, it goes on in the rest."""
    inside = among[strategy.query(pool.only(among), min(k, len(among)), rng)] if len(among) else among
    if len(inside) == k:
        return inside
    rest = np.setdiff1d(np.arange(len(pool), dtype=np.int64), among)
    return np.concatenate([inside, rest[strategy.query(pool.only(rest), k - len(inside), rng)]])


def base_strategy(name: str, positive: int) -> QueryStrategy:
    """The strategy that chooses within the neighbours. Raises ConfigError for an unknown name."""
    return Certainty(positive) if name == Certainty.name else get_strategy(name)


@register("nearest-positive")
@dataclass(frozen=True, slots=True)
class NearestPositive:
    """Another strategy within the nearest ``neighbours`` of each positive found so far.

    SEALS (Coleman et al., Similarity Search for Efficient Active Learning and Search of Rare Concepts, AAAI 2022),
    with the positives alone as centres and an exact search, which a linear pass over a million vectors still is in
    time for. Without a positive it chooses from the whole pool. ``base`` is the other strategy.
    """

    positive: int = RAREST
    neighbours: int = 100
    base: str = "certainty"

    name: ClassVar[str] = "nearest-positive"

    def __post_init__(self) -> None:
        check_positive(self.positive)
        if self.neighbours < 1:
            raise ValueError("neighbours must be at least 1")
        base_strategy(self.base, self.positive)

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] in the order of the base strategy."""
        check_request(pool, k)
        positive = positive_label(pool, self.positive)
        centres = pool.labelled_vectors[found_positives(pool, positive)]
        base = base_strategy(self.base, positive)
        if len(centres) == 0 or k == 0:
            return base.query(pool, k, rng)
        if len(centres) > MOST_QUERIES:
            centres = centres[rng.choice(len(centres), MOST_QUERIES, replace=False)]
        found, _ = nearest(pool, to_unit(centres), self.neighbours)
        return first_among(pool, np.unique(found), base, k, rng)
