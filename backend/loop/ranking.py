"""From a model and a pool to the next queue: what the strategy wants, with the audit slice mixed in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.cache import EmbeddingCache
from nextlabel.backend.learning.scoring import score_pool
from nextlabel.backend.loop.learner import Model
from nextlabel.backend.loop.pool import PoolState, Positions
from nextlabel.backend.selection import Pool, QueryStrategy, interleave
from nextlabel.connectors.records import LabelKind


@dataclass(frozen=True, slots=True)
class Ranking:
    """The queue to publish. ``positions`` int64 [k], best first; ``probabilities`` float32 [k, c], same order."""

    positions: Positions
    probabilities: npt.NDArray[np.float32]


def alternate(first: Positions, second: Positions) -> Positions:
    """One of each in turn, beginning with ``first``; what is left of the longer one follows."""
    places = np.concatenate([2 * np.arange(len(first)), 2 * np.arange(len(second)) + 1])
    return np.concatenate([first, second])[np.argsort(places, kind="stable")]


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """Embeddings of candidates, read from the memory-mapped cache only where a strategy asks for them."""

    cache: EmbeddingCache
    rows: npt.NDArray[np.int64]

    def take(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """float32 [k, d] for int64 [k] indices into the candidates."""
        return self.cache.take(self.rows[indices])


@dataclass(frozen=True, slots=True)
class Ranker:
    """Ranks a pool with one strategy, and interleaves a share of audit records.

    Every place of the queue goes to the audit slice with the probability ``audit_share``, so that the slice fills
    evenly while people label, though each label makes a new queue of which only the first few places are used.
    Records that were asked about again take every other place from the first on, as long as there are any: they come
    soon, and the model goes on learning meanwhile. Whoever answered one is not served it, and gets the next place.
    """

    strategy: QueryStrategy
    audit_share: float

    def rank(self, pool: PoolState, model: Model, k: int, rng: np.random.Generator, *, pushed_only: bool) -> Ranking:
        """The best ``k`` open records, or as many as are left. ``pushed_only`` leaves out what the platform lacks."""
        chosen = self._choose(pool, model, self._available(pool, pool.candidates(), pushed_only), k, rng)
        audit = self._available(pool, pool.audit_queue(), pushed_only)[:k]
        wanted = {"strategy": (1.0 - self.audit_share, chosen), "audit": (self.audit_share, audit)}
        merged, _ = interleave(wanted, min(k, len(chosen) + len(audit)), rng)
        if len(merged) < k:
            merged = np.concatenate([merged, self._available(pool, pool.skipped(), pushed_only)[: k - len(merged)]])
        return self.score(pool, model, alternate(pool.asked_again(), merged)[:k])

    def score(self, pool: PoolState, model: Model, positions: Positions) -> Ranking:
        """``positions`` in this very order, with what ``model`` thinks of them."""
        return Ranking(positions, score_pool(model.probe, model.space.cache.matrix, pool.rows[positions]))

    @staticmethod
    def _available(pool: PoolState, positions: Positions, pushed_only: bool) -> Positions:
        return positions[pool.is_pushed(positions)] if pushed_only else positions

    def _choose(
        self, pool: PoolState, model: Model, candidates: Positions, k: int, rng: np.random.Generator
    ) -> Positions:
        k = min(k, len(candidates))
        if k == 0:
            return candidates
        training = pool.training()
        rows = pool.rows[candidates]
        cache = model.space.cache
        view = Pool(
            probabilities=score_pool(model.probe, cache.matrix, rows),
            vectors=CachedVectors(cache, rows),
            labelled_vectors=cache.take(pool.rows[training]),
            labelled_targets=pool.targets(training),
            multi_label=pool.labeling.kind is LabelKind.MULTI,
        )
        return candidates[self.strategy.query(view, k, rng)]
