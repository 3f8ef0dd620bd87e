"""From a model and a pool to the next queue: what the strategy wants, with the audit slice mixed in.

Where the strategy weighs second opinions, another answer stands against another record. A queue is made anew after
every label, of which only the first few places are used, but what a platform was told stays told. So two things are
bounded: how many records wait for another opinion at a time, and how many places they get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.retraining.model import Model
from nextlabel.backend.selection import Pool, QueryStrategy, choose, interleave, relabels, weighs_spans
from nextlabel.backend.selection.base import ScoringStrategy
from nextlabel.backend.selection.relabelling import Relabelling
from nextlabel.backend.selection.seeds import Seeds, seed_scores
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.content import content_of

NOTHING: Positions = np.empty(0, np.int64)
AMONG = 10
"""Places of the strategy's order by which it is decided how many records shall wait for another opinion."""
MOST = 5
"""Of these at most: half of the places go to new records, however sure the strategy is that old ones are worth more."""
LEAST_SHARE = 0.1
"""Of the places, for what was asked and is no longer among the best: it still has to be answered."""


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
class Choice:
    """The best new records, and those for second opinions, best first, with their ``share`` of the queue's places.

    ``ask``: those of ``again`` that the platform has not been asked about yet.
    """

    new: Positions
    again: Positions
    ask: Positions
    share: float


@dataclass(frozen=True, slots=True)
class Ranker:
    """Ranks a pool with one strategy, and interleaves a share of audit records.

    Every place of the queue goes to the audit slice with the probability ``audit_share``, so that the slice fills
    evenly while people label, though each label makes a new queue of which only the first few places are used. What
    the strategy itself wants second opinions on has its share of the strategy's places.
    Records that somebody asked about again take every other place from the first on, as long as there are any: they
    come soon, and the model goes on learning meanwhile. Whoever answered one is not served it, and gets the next place.
    So do records that several are to answer and some have, before new ones: else few would ever be complete.
    ``seeds``: what a search for a rare label starts from, None without.

    If the strategy weighs second answers, it chooses between new records and answered ones. A record gets ``most``
    answers in all. Where that is not above the overlap, nothing is asked again; nor while one annotator is alone, nor
    about a record of which the model can't tell what it would say had it not learned from it. A mixture asks again
    within the share of the strategies in it that weigh second answers.
    """

    strategy: QueryStrategy
    audit_share: float
    seeds: Seeds | None = None
    most: int = 0

    def note_seeds(
        self, pool: PoolState, stored: Sequence[StoredRecord], rows: Positions, space: EmbeddingSpace
    ) -> None:
        """Note in ``pool`` how well ``stored`` records, in ``rows`` of the space's cache, match the seeds, if any."""
        at = np.flatnonzero(rows >= 0).tolist()
        stored, rows = [stored[one] for one in at], rows[at]
        if self.seeds is not None and stored:
            contents = [content_of(pool.labeling.content(item.record)) for item in stored]
            texts = [f"{one.text}\n{one.context}" if one.context else one.text for one in contents]
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
        chosen = self.choose(pool, model, candidates, own, k, rng)
        audit = self._available(pool, pool.audit_queue(), pushed_only)[:k]
        rest = 1.0 - self.audit_share
        wanted = {"strategy": (rest * (1.0 - chosen.share), chosen.new), "audit": (self.audit_share, audit)}
        if len(chosen.again):
            wanted["again"] = (rest * chosen.share, chosen.again)
        merged, _ = interleave(wanted, min(k, sum(len(one) for _, one in wanted.values())), rng)
        if len(merged) < k:
            merged = np.concatenate([merged, self._available(pool, pool.left_over(), pushed_only)[: k - len(merged)]])
        begun = self._available(pool, pool.begun(), pushed_only)[:k]
        merged = alternate(begun, merged[~np.isin(merged, begun)])
        asked = pool.asked_again()
        return Ranking(alternate(asked[~np.isin(asked, own)], merged)[:k], chosen.ask)

    @staticmethod
    def _available(pool: PoolState, positions: Positions, pushed_only: bool) -> Positions:
        return positions[pool.is_pushed(positions)] if pushed_only else positions

    def choose(
        self, pool: PoolState, model: Model, candidates: Positions, own: Positions, k: int, rng: np.random.Generator
    ) -> Choice:
        """At most ``k`` of ``candidates``, and second opinions. ``own``: what was asked before, or is to be."""
        people, training = pool.people(), pool.training()
        waiting = own[np.isin(own, pool.asked_again())]
        waiting = waiting[np.argsort(pool.tally(waiting)[1], kind="stable")]
        known = None
        if relabels(self.strategy) and self.most > pool.overlap and min(self.most, people) > 1:
            known = model.held_out(pool, training)
        if known is None:
            new = self._plain(pool, model, candidates, k, rng)
            return Choice(new, waiting, NOTHING, LEAST_SHARE if len(waiting) else 0.0)

        told = ~np.isnan(known).any(axis=1)
        training, known = training[told], known[told]
        # Who was asked about in vain, since everybody has answered or skipped it, holds up nobody.
        live = own[np.add(*pool.tally(own)) < people]
        closed = pool.closed(min(self.most, people))
        both = np.union1d(candidates, training)
        view = self._view(pool, model, both)
        view.probabilities[np.searchsorted(both, training)] = known
        order = both[self._order(replace(view, opinions=pool.opinions(both)), both, candidates, closed, live, k, rng)]
        new = order[np.isin(order, candidates)]
        new = np.concatenate([new, candidates[~np.isin(candidates, new)]])[:k]  # the strategy may leave out a few
        best = order[:AMONG][np.isin(order[:AMONG], np.concatenate([closed, live]))][:MOST]
        ask = best[np.isin(best, closed) & ~np.isin(best, own)][: max(0, len(best) - len(live))]
        ask = np.concatenate([own[np.isin(own, closed)], ask])  # first what is still to be asked since the last time
        again = np.concatenate([best[np.isin(best, np.concatenate([waiting, ask]))], waiting, ask])
        _, first = np.unique(again, return_index=True)
        again = again[np.sort(first)]
        return Choice(new, again, ask, max(len(best) / AMONG, LEAST_SHARE) if len(again) else 0.0)

    def _order(
        self,
        view: Pool,
        both: Positions,
        candidates: Positions,
        closed: Positions,
        live: Positions,
        k: int,
        rng: np.random.Generator,
    ) -> Positions:
        """int64: indices into ``both``, best first, without what is there only to tell how good annotators are."""
        allowed = np.isin(both, np.concatenate([candidates, closed, live]))
        if isinstance(self.strategy, ScoringStrategy):
            answered = len(both) - len(candidates)
            order = (
                Relabelling(self.strategy, self.most)
                .decide(view, k + answered, rng, people=self.most, outstanding=np.flatnonzero(~allowed))
                .chosen
            )
        else:
            order = choose(self.strategy, view, min(2 * k, len(view)), rng)
        return order[allowed[order]]

    def _plain(
        self, pool: PoolState, model: Model, candidates: Positions, k: int, rng: np.random.Generator
    ) -> Positions:
        """At most ``k`` new records, where nothing is asked again."""
        k = min(k, len(candidates))
        if k == 0:
            return candidates
        return candidates[self.strategy.query(self._view(pool, model, candidates), k, rng)]

    def _view(self, pool: PoolState, model: Model, positions: Positions) -> Pool:
        # To propose single spans takes longer than to doubt a text.
        view = model.view(pool, positions, spans=weighs_spans(self.strategy))
        return replace(view, seeds=pool.seeds[positions]) if self.seeds is not None else view
