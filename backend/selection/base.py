"""What a strategy sees, and what it must do. A strategy that scores is told from one that only picks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import SOFTMAX, Activation
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.errors import EmptyPool, ExhaustedPool, SelectionError

Floats: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]


class Vectors(Protocol):
    """The embeddings of a pool, read only where a strategy asks for them: a memory-mapped file may lie behind."""

    def take(self, indices: Indices) -> npt.NDArray[np.floating[Any]]:
        """float [k, d] for int64 [k] indices into the pool."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayVectors:
    """Embeddings that are in memory already: float [n, d]."""

    array: npt.NDArray[np.floating[Any]]

    def take(self, indices: Indices) -> npt.NDArray[np.floating[Any]]:
        """float [k, d] for int64 [k] indices into the pool."""
        return self.array[indices]


@dataclass(frozen=True, slots=True)
class _Some:
    """A part of other embeddings, still read only where asked for."""

    whole: Vectors
    indices: Indices

    def take(self, indices: Indices) -> npt.NDArray[np.floating[Any]]:
        return self.whole.take(self.indices[indices])


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans that a model proposes in the records of a pool: one entry per span, in any order, most records have none.

    ``records`` int64 [s], indices into the pool; ``labels`` int64 [s]; ``scores`` float32 [s], the
    probability of each.
    """

    records: Indices
    labels: Indices
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.records)

    def check(self, size: int) -> None:
        """Raise ValueError unless they are about a pool of ``size`` records."""
        lengths = [len(self.labels), len(self.scores)]
        if lengths != [len(self)] * 2:
            raise ValueError(f"arrays of {len(self)} and {lengths} entries don't go together")
        if len(self) and not (self.records.min() >= 0 and self.records.max() < size):
            raise ValueError(f"there are {size} records; indices run from {self.records.min()} to {self.records.max()}")

    def only(self, indices: Indices, size: int) -> Spans:
        """Those in ``indices``, int64 [k], of a pool of ``size`` records, numbered as they stand there."""
        places = np.full(size, -1, dtype=np.int64)
        places[indices] = np.arange(len(indices))
        records = places[self.records]
        kept = records >= 0
        return Spans(records[kept], self.labels[kept], self.scores[kept])


@dataclass(frozen=True, slots=True)
class Pool:
    """The records to choose from, as the model sees them, and the ones that have labels.

    ``probabilities``: float32 [n, c]; rows sum to 1, or, under sigmoids, each label has its own. For spans
    [n, 2]: 1 - u/2 and u/2, u in [0, 1] being the doubt about all tags of the text, so that margin is u.
    ``vectors``: the embeddings of the same n records; strategies that need none do without.
    ``labelled_vectors``: float32 [m, d]. ``labelled_targets``: int64 [m], or bool [m, c] under sigmoids.
    ``labelled_probabilities``: float32 [m, c], what the model says of them; may be left out.
    ``opinions``: answers about records *of the pool*, with its labels (several under sigmoids). A record that
    may be asked about again is in the pool with its answers; for it, ``probabilities`` should be held out: from a
    model that did not learn from these answers. Give such a pool to :func:`choose`, which shows those records only to
    strategies that weigh a second answer.
    ``spans``: what a span model proposes in records of the pool. ``seeds``: float32 [n], how well each record matches
    what people say that they look for; 0 is not at all.
    Raises ValueError for opinions or spans that don't belong to the pool's records and labels.
    """

    probabilities: Floats
    vectors: Vectors | None = None
    labelled_vectors: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    labelled_targets: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int64))
    activation: Activation = SOFTMAX
    labelled_probabilities: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    opinions: Opinions | None = None
    spans: Spans | None = None
    seeds: Floats | None = None

    def __post_init__(self) -> None:
        if self.spans is not None:
            self.spans.check(len(self))
        if self.opinions is None:
            return
        about = self.opinions.size, len(self.opinions.labels)
        if about != self.probabilities.shape:
            raise ValueError(
                f"opinions about {about[0]} records with {about[1]} labels don't go with probabilities of shape "
                f"{list(self.probabilities.shape)}"
            )
        if self.opinions.several is not self.activation.several:
            raise ValueError("a pool with several labels per record has opinions with several labels, another has none")

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def labels(self) -> int:
        """How many records are labelled."""
        return max(len(self.labelled_targets), len(self.labelled_vectors))

    def unit_vectors(self, indices: Indices) -> Floats:
        """float32 [k, d] of length 1, so that products are cosines. Raises SelectionError if there are no vectors."""
        if self.vectors is None:
            raise SelectionError("this strategy compares records; give it a pool with vectors, or choose another")
        return to_unit(self.vectors.take(indices))

    def only(self, indices: Indices) -> Pool:
        """The pool of ``indices``, int64 [k], in this order; what is labelled stays the same."""
        return replace(
            self,
            probabilities=self.probabilities[indices],
            vectors=None if self.vectors is None else _Some(self.vectors, indices),
            opinions=None if self.opinions is None else self.opinions.take(indices),
            spans=None if self.spans is None else self.spans.only(indices, len(self)),
            seeds=None if self.seeds is None else self.seeds[indices],
        )


@runtime_checkable
class QueryStrategy(Protocol):
    """Chooses the records to label next."""

    @property
    def name(self) -> str:
        """The name it is registered under."""
        ...

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k]: distinct indices into the pool, the most valuable first.

        The same pool, k and state of ``rng`` give the same answer. Raises EmptyPool when the pool has no
        record, ExhaustedPool when it has fewer than ``k``.
        """
        ...


@runtime_checkable
class ScoringStrategy(QueryStrategy, Protocol):
    """A strategy that values each record on its own; its query is the top of its score, which it may inherit."""

    @abstractmethod
    def score(self, pool: Pool) -> Floats:
        """float32 [n], higher is more valuable, never NaN for valid probabilities."""

    @override
    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        check_request(pool, k)
        return top_k(self.score(pool), k, rng)


def relabels(strategy: QueryStrategy) -> bool:
    """Whether ``strategy`` says, by an attribute ``relabels``, that it weighs another answer against a first one."""
    return bool(getattr(strategy, "relabels", False))


def weighs_spans(strategy: QueryStrategy) -> bool:
    """Whether ``strategy`` says, by an attribute ``weighs_spans``, that it needs the single spans a model proposes."""
    return bool(getattr(strategy, "weighs_spans", False))


def choose(strategy: QueryStrategy, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
    """int64 [at most k]: what ``strategy`` picks from a pool in which some records may have opinions already.

    One that does not weigh second answers sees only the records that nobody has answered; they may be fewer than k.
    Raises EmptyPool if the pool itself is empty, ExhaustedPool if it has fewer than k records.
    """
    check_request(pool, k)
    if pool.opinions is None or len(pool.opinions) == 0 or relabels(strategy):
        return strategy.query(pool, k, rng)
    fresh = np.flatnonzero(pool.opinions.per_record == 0)
    if len(fresh) == 0:
        return fresh
    return fresh[strategy.query(pool.only(fresh), min(k, len(fresh)), rng)]


def check_request(pool: Pool, k: int) -> None:
    """The preamble of every query. Raises EmptyPool, ExhaustedPool, or ValueError for a negative ``k``."""
    if k < 0:
        raise ValueError(f"can't choose {k} records")
    if len(pool) == 0:
        raise EmptyPool("there is no record to choose from")
    if k > len(pool):
        raise ExhaustedPool(asked=k, left=len(pool))


def at_least(least: int, /, **numbers: float) -> None:
    """Raises ValueError for the first of the named ``numbers`` that is below ``least``."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}")


def top_k(scores: Floats, k: int, rng: np.random.Generator) -> Indices:
    """int64 [k]: where the k highest scores are, best first, ties in random order, NaN last. O(n + k log k).

    Random ties matter at the start, when a model finds everything alike and the pool is sorted by class.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    chosen: Indices = rng.permutation(_top(scores, k, rng))
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _top(scores: npt.NDArray[np.floating[Any]], k: int, rng: np.random.Generator) -> Indices:
    cut = len(scores) - k
    if cut == 0 or k == 0:
        return np.arange(k, dtype=np.int64)
    threshold = np.partition(scores, cut)[cut]
    above = np.flatnonzero(scores > threshold)
    tied = np.flatnonzero(scores == threshold)
    chosen: Indices = np.concatenate([above, rng.choice(tied, k - len(above), replace=False)], dtype=np.int64)
    return chosen


def to_unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """float32 rows of length 1; rows of zeros stay zeros, what isn't finite becomes 0."""
    single = np.asarray(vectors, dtype=np.float32)
    if not np.isfinite(single).all():
        single = np.nan_to_num(single, posinf=0.0, neginf=0.0)
    return unit_rows(single)
