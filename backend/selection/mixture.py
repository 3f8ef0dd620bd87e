"""Several strategies in one queue, each with its share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nextlabel.connectors.errors import ExhaustedPool

from .base import Indices, Pool, QueryStrategy, check_request, choose, relabels, weighs_spans
from .registry import get_strategy, register

PHASES = 256
"""Picks after which a random phase may start: enough that a share of one percent gets its turn."""


def interleave(
    lists: Mapping[str, tuple[float, Indices]], k: int, rng: np.random.Generator | None = None
) -> tuple[Indices, list[str]]:
    """Merge ranked lists so that every prefix honours their shares; return int64 [k] and the source of each.

    ``lists`` maps a name to (share, ranked int64 array). Shares are relative; a list with share 0 comes only
    when the others are used up. What was taken from one list is skipped, free of charge, in the others. The
    rule is smooth weighted round-robin, as in nginx. With ``rng`` the round starts at a random point, so that
    every place, the first included, goes to a list with the probability of its share: a queue that is made
    anew after each label would otherwise always start with the largest share, and never get to the others.
    Raises ExhaustedPool if the lists hold fewer than ``k`` distinct entries, ValueError for negative shares.
    """
    shares = {name: float(share) for name, (share, _) in lists.items()}
    if any(not share >= 0 for share in shares.values()):
        raise ValueError(f"shares can't be negative: {shares}")
    queues = {name: iter(ranked.tolist()) for name, (_, ranked) in lists.items()}
    credit = dict.fromkeys(lists, 0.0)
    for _ in range(int(rng.integers(PHASES)) if rng is not None and credit else 0):
        _charge(credit, shares, _turn(credit, shares))
    merged: dict[int, str] = {}
    while len(merged) < k:
        if not credit:
            raise ExhaustedPool(asked=k, left=len(merged))
        name = _turn(credit, shares)
        entry = next((one for one in queues[name] if one not in merged), None)
        if entry is None:
            del credit[name]  # used up: the others divide its share
            continue
        merged[entry] = name
        _charge(credit, shares, name)
    return np.fromiter(merged, dtype=np.int64, count=len(merged)), list(merged.values())


def _turn(credit: Mapping[str, float], shares: Mapping[str, float]) -> str:
    """Whose turn it is."""
    return max(credit, key=lambda one: (credit[one] + shares[one], shares[one]))


def _charge(credit: dict[str, float], shares: Mapping[str, float], name: str) -> None:
    """``name`` had its turn: everybody earns their share, and it pays for all of them."""
    for one in credit:
        credit[one] += shares[one]
    credit[name] -= sum(shares[one] for one in credit)


@register("mixture")
@dataclass(frozen=True, slots=True)
class Mixture:
    """Interleaves other strategies by share, so that each prefix of the queue is mixed as a whole.

    A little chance beside doubt protects from a model that is sure and wrong. It weighs second answers if a part does;
    the other parts then see only what nobody has answered.
    """

    shares: Mapping[str, float] = field(default_factory=lambda: {"margin-diverse": 0.9, "random": 0.1})

    name: ClassVar[str] = "mixture"

    def __post_init__(self) -> None:
        if not self.shares or any(not share > 0 for share in self.shares.values()):
            raise ValueError("shares must name strategies, each with a share above 0")
        if self.name in self.shares:
            raise ValueError("a mixture can't be a part of itself")
        self._parts()

    def _parts(self) -> dict[str, QueryStrategy]:
        return {name: get_strategy(name) for name in self.shares}

    @property
    def relabels(self) -> bool:
        """Whether a part weighs another answer against a first one."""
        return any(relabels(part) for part in self._parts().values())

    @property
    def weighs_spans(self) -> bool:
        """Whether a part needs the single spans that a model proposes."""
        return any(weighs_spans(part) for part in self._parts().values())

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the parts' own orders kept."""
        check_request(pool, k)
        mixed = self.relabels
        # Each part is asked for k: in the worst case the others want the same records.
        lists = {
            name: (self.shares[name], choose(part, pool, k, rng) if mixed else part.query(pool, k, rng))
            for name, part in self._parts().items()
        }
        return interleave(lists, k, rng)[0]
