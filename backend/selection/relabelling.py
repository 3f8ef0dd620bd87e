"""Relabel or label: which of the next answers should be second opinions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Indices, Pool, ScoringStrategy, check_request, relabels, top_k


@dataclass(frozen=True, slots=True)
class Decision:
    """What to ask about next.

    ``chosen`` int64 [at most k]: indices into the pool, the most valuable first. ``again`` int64: those of them that
    have answers already and shall be asked about again now; ``opinions`` int64, of the same length: how many answers
    each of these shall have in the end.
    """

    chosen: Indices
    again: Indices
    opinions: Indices


@dataclass(frozen=True, slots=True)
class Relabelling:
    """Lets a score that weighs second answers, as ActiveLab does, choose between new records and answered ones.

    ``most`` answers a record gets at most, and never more than there are ``people``: nobody is asked twice. Raises
    ValueError for a ``most`` below 2 or a strategy that can't tell what a second answer is worth.
    """

    strategy: ScoringStrategy
    most: int

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ValueError(
                f"with at most {self.most} opinions on a record nothing can be asked again; allow 2 or more"
            )
        if not relabels(self.strategy):
            raise ValueError(f"{self.strategy.name} does not weigh second answers; activelab does")

    def decide(
        self, pool: Pool, k: int, rng: np.random.Generator, *, people: int, outstanding: Indices | None = None
    ) -> Decision:
        """Choose the next ``k`` records, or as many as may still be asked about.

        ``pool`` holds new records and answered ones; the predictions of the latter are held out. ``outstanding``:
        indices of records that were asked about again and wait for the answer. They are not chosen, and count against
        what is asked again now: a queue is made anew after every label, but what a platform was told stays told, so
        that without it every label would add as many second opinions as there are places. Raises EmptyPool for a
        pool without records.
        """
        waiting = np.empty(0, np.int64) if outstanding is None else outstanding
        check_request(pool, 0)
        counts: Indices = np.zeros(len(pool), np.int64) if pool.opinions is None else pool.opinions.per_record
        allowed = counts < min(self.most, people)
        allowed[waiting] = False
        # Records that nobody is asked about any more still tell how good annotators are, so they are scored too.
        scores = np.where(allowed, self.strategy.score(pool), -np.inf).astype(np.float32)
        chosen = top_k(scores, min(k, int(allowed.sum())), rng)
        again = chosen[counts[chosen] > 0][: max(0, k - len(waiting))]
        return Decision(chosen, again, counts[again] + 1)
