"""The queue for a rare class: a likely slice beside doubtful, different and random records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Indices, Pool, QueryStrategy, check_request, top_k
from .likely import RAREST, check_positive, found_positives, positive_label
from .mixture import interleave
from .neighbours import base_strategy
from .registry import register


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
        if self.enough < 0:
            raise ValueError("enough can't be negative")
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
