"""From a model and a pool to the next queue: what the strategy wants, with the audit slice mixed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.retraining.probe_model import Model
from nextlabel.backend.selection import QueryStrategy, interleave
from nextlabel.backend.selection.seeds import Seeds, seed_scores
from nextlabel.backend.store import StoredRecord

from .second_opinions import SecondOpinions

NOTHING: Positions = np.empty(0, np.int64)


def alternate(first: Positions, second: Positions) -> Positions:
    """One of each in turn, beginning with ``first``; what is left of the longer one follows."""
    places = np.concatenate([2 * np.arange(len(first)), 2 * np.arange(len(second)) + 1])
    return np.concatenate([first, second])[np.argsort(places, kind="stable")]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The open records, best first; ``ask``: those among them that the platform is to be asked about again first."""

    order: Positions
    ask: Positions


@dataclass(frozen=True, slots=True)
class Ranker:
    """Ranks a pool with one strategy, and interleaves a share of audit records.

    Every place of the queue goes to the audit slice with the probability ``audit_share``, so that the slice fills
    evenly while people label, though each label makes a new queue of which only the first few places are used. What
    the strategy itself wants second opinions on has its share of the strategy's places, see SecondOpinions.
    Records that somebody asked about again take every other place from the first on, as long as there are any: they
    come soon, and the model goes on learning meanwhile. Whoever answered one is not served it, and gets the next place.
    ``seeds``: what a search for a rare label starts from, None without. ``most``: answers that a record gets at most
    by the strategy's wish.
    """

    strategy: QueryStrategy
    audit_share: float
    seeds: Seeds | None = None
    most: int = 0

    def note_seeds(
        self, pool: PoolState, stored: Sequence[StoredRecord], rows: Positions, space: EmbeddingSpace
    ) -> None:
        """Note in ``pool`` how well ``stored`` records, in ``rows`` of the space's cache, match the seeds, if any."""
        if self.seeds is not None and len(stored):
            texts = [pool.labeling.text(item.record) for item in stored]
            scores = seed_scores(self.seeds, texts, space.cache.take(rows), space.encoder.encode)
            pool.set_seeds(np.array([item.position for item in stored], dtype=np.int64), scores)

    def rank(self, pool: PoolState, model: Model, k: int, rng: np.random.Generator, *, pushed_only: bool) -> Positions:
        """int64 [at most k]: the open records, best first. ``pushed_only`` leaves out what the platform lacks."""
        return self.plan(pool, model, k, rng, pushed_only=pushed_only).order

    def plan(
        self,
        pool: PoolState,
        model: Model,
        k: int,
        rng: np.random.Generator,
        *,
        pushed_only: bool,
        own: Positions = NOTHING,
    ) -> Ranking:
        """Like :meth:`rank`, with what to ask again. ``own``: what the loop has asked so, and still waits for."""
        candidates = self._available(pool, pool.candidates(), pushed_only)
        chosen = SecondOpinions(self.strategy, self.most, self.seeds is not None).choose(
            pool, model, candidates, own, k, rng
        )
        audit = self._available(pool, pool.audit_queue(), pushed_only)[:k]
        rest = 1.0 - self.audit_share
        wanted = {"strategy": (rest * (1.0 - chosen.share), chosen.new), "audit": (self.audit_share, audit)}
        if len(chosen.again):
            wanted["again"] = (rest * chosen.share, chosen.again)
        merged, _ = interleave(wanted, min(k, sum(len(one) for _, one in wanted.values())), rng)
        if len(merged) < k:
            merged = np.concatenate([merged, self._available(pool, pool.skipped(), pushed_only)[: k - len(merged)]])
        asked = pool.asked_again()
        return Ranking(alternate(asked[~np.isin(asked, own)], merged)[:k], chosen.ask)

    @staticmethod
    def _available(pool: PoolState, positions: Positions, pushed_only: bool) -> Positions:
        return positions[pool.is_pushed(positions)] if pushed_only else positions
