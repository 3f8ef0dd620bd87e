"""For classes that hardly ever occur: ask about the records that most likely belong to one, or are near to such.

Doubt is a poor guide there, because a model that has seen five positives among a thousand doubts nearly nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nextlabel.backend.blas import one_blas_thread
from nextlabel.connectors.errors import SelectionError

from .base import Floats, Indices, Pool, QueryStrategy, ScoringStrategy, at_least, check_request, to_unit, top_k
from .distances import nearest, seeds_apart
from .mixture import interleave
from .registry import get_strategy, register

MOST_QUERIES = 256  # records whose neighbours are looked for; more are drawn from
RAREST = -1
"""As ``positive``: the label that the model expects least often in the pool."""


def positive_label(pool: Pool, positive: int) -> int:
    """The column of ``pool.probabilities`` that is searched for. Raises SelectionError if there is no such label."""
    classes = pool.probabilities.shape[1]
    if positive >= classes:
        raise SelectionError(f"positive is label number {positive}, but there are {classes}, counted from 0")
    if positive != RAREST:
        return positive
    expected = np.array([np.nan_to_num(column).mean(dtype=np.float64) for column in pool.probabilities.T])
    return int(expected.argmin())


def found_positives(pool: Pool, positive: int) -> npt.NDArray[np.bool_]:
    """bool [m]: which labelled records have the label."""
    targets: npt.NDArray[Any] = pool.labelled_targets
    if len(targets) == 0:
        return np.zeros(0, dtype=bool)
    return pool.activation.flags(targets, pool.probabilities.shape[1])[:, positive]


def check_positive(positive: int) -> None:
    """Raises ValueError for what can't be a label's number."""
    if positive < RAREST:
        raise ValueError("positive is the number of a label, counted from 0, or -1 for the rarest")


@register("certainty")
@dataclass(frozen=True, slots=True)
class Certainty(ScoringStrategy):
    """The records most likely to have the label ``positive`` (relevance sampling: Lewis and Gale, SIGIR 1994, §4).

    ``positive``: the label's number, counted from 0; -1 takes the one that the model expects least often.
    """

    positive: int = RAREST

    name: ClassVar[str] = "certainty"

    def __post_init__(self) -> None:
        check_positive(self.positive)

    def score(self, pool: Pool) -> Floats:
        """float32 [n] in [0, 1]: the probability of the label; 0 where the model gives no number."""
        column = np.asarray(pool.probabilities[:, positive_label(pool, self.positive)], dtype=np.float32)
        return np.nan_to_num(column)


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
        at_least(1, neighbours=self.neighbours)
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
        at_least(1, anchors=self.anchors, neighbours=self.neighbours, subpool=self.subpool)
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
                    rows.append(places[self._spread(vectors[places], rng)])
        # Several labels may all be absent from every record: then any of them will do.
        chosen = np.unique(np.concatenate(rows)) if rows else rng.permutation(len(vectors))[: self.anchors]
        return np.asarray(vectors[chosen], dtype=np.float32)

    def _spread(self, vectors: Floats, rng: np.random.Generator) -> list[int]:
        """At most ``anchors`` places in float32 [m, d]; where all the others are copies of one, rounding is left."""
        first, count = int(rng.integers(len(vectors))), min(self.anchors, len(vectors))
        return seeds_apart(
            first, count, lambda place: np.maximum(1 - vectors @ vectors[place], 0), rng, 1e-6 * len(vectors)
        )


@register("rare")
@dataclass(frozen=True, slots=True)
class Rare:
    """Four slices by share: the likeliest records of the label ``positive``, doubtful, different and random ones.

    ``likely``, ``uncertain``, ``different``, ``random`` are shares of every part of the queue, and 0 leaves a slice
    out. ``finder`` is the strategy of the likely slice, ``certainty`` or ``nearest-positive``. Until ``enough``
    positives are found, records that match the seeds (see :class:`nextlabel.backend.selection.seeds.Seeds`) come
    first in the likely slice.
    """

    positive: int = RAREST
    likely: float = 0.9
    uncertain: float = 0.05
    different: float = 0.0
    random: float = 0.05
    finder: str = "certainty"
    enough: int = 10

    name: ClassVar[str] = "rare"

    def __post_init__(self) -> None:
        check_positive(self.positive)
        shares = self._shares()
        if any(not share >= 0 for share in shares.values()) or not sum(shares.values()) > 0:
            raise ValueError(f"shares can't be negative, and one must be above 0: {shares}")
        at_least(0, enough=self.enough)
        if self.finder == self.name:
            raise ValueError("it can't be its own finder")
        self._parts(RAREST)

    def _shares(self) -> dict[str, float]:
        return {"likely": self.likely, "uncertain": self.uncertain, "different": self.different, "random": self.random}

    def _parts(self, positive: int) -> dict[str, QueryStrategy]:
        names = {"likely": self.finder, "uncertain": "margin", "different": "k-center", "random": "random"}
        return {slice_: base_strategy(name, positive) for slice_, name in names.items() if self._shares()[slice_] > 0}

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], every stretch of it mixed by the shares."""
        check_request(pool, k)
        positive = positive_label(pool, self.positive)
        lists = {
            slice_: (self._shares()[slice_], part.query(pool, k, rng)) for slice_, part in self._parts(positive).items()
        }
        seeded = self._seeded(pool, positive, k, rng)
        if len(seeded):
            share, likely = lists.get("likely", (1.0, seeded[:0]))
            lists["likely"] = (share, np.concatenate([seeded, likely[~np.isin(likely, seeded)]]))
        return interleave(lists, k, rng)[0]

    def _seeded(self, pool: Pool, positive: int, k: int, rng: np.random.Generator) -> Indices:
        """int64 [at most k]: records that match the seeds, the best first, while positives are few."""
        if pool.seeds is None or found_positives(pool, positive).sum() >= self.enough:
            return np.empty(0, dtype=np.int64)
        return top_k(pool.seeds, min(k, int((pool.seeds > 0).sum())), rng)
