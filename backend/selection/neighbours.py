"""The nearest records of a large pool, found block by block, and strategies that look only there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, QueryStrategy, check_request, to_unit
from .likely import RAREST, Certainty, check_positive, found_positives, positive_label
from .registry import get_strategy, register

BLOCK = 8_192  # rows of the pool that are read and compared together
MOST_QUERIES = 256  # records whose neighbours are looked for; more are drawn from


def nearest(pool: Pool, queries: Floats, count: int) -> tuple[Indices, Floats]:
    """The ``count`` records nearest to each of the ``queries``, in no order: int64 and their cosines, [count, q].

    ``queries`` float32 [q, d] of length 1. Exact: reads the whole pool once, 8,192 rows at a time, and holds
    no more than that. ``count`` is cut to the size of the pool.
    """
    count = min(count, len(pool))
    found: Indices = np.empty((0, len(queries)), dtype=np.int64)
    cosines: Floats = np.empty((0, len(queries)), dtype=np.float32)
    with one_blas_thread():
        for start in range(0, len(pool), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(pool)), dtype=np.int64)
            products = np.asarray(pool.unit_vectors(rows) @ queries.T, dtype=np.float32)
            places = np.broadcast_to(rows[:, None], products.shape)
            products, places = _keep(products, places, count)
            cosines, found = _keep(np.concatenate([cosines, products]), np.concatenate([found, places]), count)
    return found, cosines


def _keep(values: Floats, places: Indices, count: int) -> tuple[Floats, Indices]:
    """The highest ``count`` of each column."""
    if len(values) <= count:
        return values, places
    top = np.argpartition(values, len(values) - count, axis=0)[len(values) - count :]
    return np.take_along_axis(values, top, axis=0), np.take_along_axis(places, top, axis=0)


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
