"""Several strategies in one queue, each with its share, which may change as labels come in; and chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from nextlabel.connectors.errors import ExhaustedPool

from .base import Indices, Pool, QueryStrategy, check_request, choose, relabels, weighs_spans
from .registry import get_strategy, register

Shares: TypeAlias = Mapping[str, float]

_FORMS = (
    "write a name; or names with shares, as in {margin: 0.7, random: 0.3}; or from how many labels on which of these "
    "holds, as in {0: typiclust, 50: {margin: 0.7, random: 0.3}}"
)
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


@register("random")
@dataclass(frozen=True, slots=True)
class Random:
    """The yardstick: every record is as good as any other. Uniform, without replacement."""

    name: ClassVar[str] = "random"

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], uniform."""
        check_request(pool, k)
        return rng.choice(len(pool), k, replace=False).astype(np.int64, copy=False)


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


def _default() -> Mapping[int, str | Shares]:
    return {0: {"typiclust": 0.9, "random": 0.1}, 50: {"margin-diverse": 0.9, "random": 0.1}}


@register("schedule")
@dataclass(frozen=True, slots=True)
class Schedule:
    """One mixture after another: ``stages`` say from how many labels on which strategy, or shares of several, hold.

    With ``smooth`` the shares move in a straight line from each stage to the next one instead of jumping there; the
    last stage holds for the rest. That a strategy for few labels should give way to one for many is what Hacohen,
    Dekel and Weinshall (ICML 2022) show.
    """

    stages: Mapping[int, str | Shares] = field(default_factory=_default)
    smooth: bool = False

    name: ClassVar[str] = "schedule"

    def __post_init__(self) -> None:
        if any(isinstance(labels, bool) or not isinstance(labels, int) or labels < 0 for labels in self.stages):
            raise ValueError(f"stages begin at numbers of labels, not at {', '.join(map(repr, self.stages))}")
        if 0 not in self.stages:
            raise ValueError("say what holds from 0 labels on")
        if not isinstance(self.smooth, bool):
            raise ValueError(f"smooth is true or false, not {self.smooth!r}")
        for stage in self.stages.values():
            Mixture(_shares(stage))

    def shares_at(self, labels: int) -> dict[str, float]:
        """What each strategy gets at this number of labels; in all 1."""
        begins = sorted(self.stages)
        at = int(np.searchsorted(begins, labels, side="right")) - 1
        now = _normal(_shares(self.stages[begins[at]]))
        if not self.smooth or at == len(begins) - 1:
            return now
        later = _normal(_shares(self.stages[begins[at + 1]]))
        way = (labels - begins[at]) / (begins[at + 1] - begins[at])
        mixed = {name: (1 - way) * now.get(name, 0.0) + way * later.get(name, 0.0) for name in {**now, **later}}
        return {name: share for name, share in mixed.items() if share > 0}

    @property
    def relabels(self) -> bool:
        """Whether a part of any stage weighs another answer against a first one."""
        return any(Mixture(_shares(stage)).relabels for stage in self.stages.values())

    @property
    def weighs_spans(self) -> bool:
        """Whether a part of any stage needs the single spans that a model proposes."""
        return any(Mixture(_shares(stage)).weighs_spans for stage in self.stages.values())

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k] from the mixture that holds at the pool's number of labels.

        Fewer if only answered records are left, and no part of that mixture weighs second answers.
        """
        return choose(Mixture(self.shares_at(pool.labels)), pool, k, rng)


def _shares(stage: str | Shares) -> Shares:
    return {stage: 1.0} if isinstance(stage, str) else stage


def _normal(shares: Shares) -> dict[str, float]:
    whole = sum(shares.values())
    return {name: share / whole for name, share in shares.items()}


def declared(strategy: Any, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Name and options of a strategy as a recipe writes it: a name, names with shares, or labels with either.

    What stands in a file is text, numbers too. Raises ValueError, which shows the forms, for anything in between.
    """
    if not isinstance(strategy, Mapping):
        return strategy, options
    begins = [str(key).isdecimal() for key in strategy]
    if any(begins) and not all(begins):
        raise ValueError(f"{strategy!r} mixes numbers of labels and names; {_FORMS}")
    if any(begins):
        return "schedule", {**options, "stages": {int(key): _numbers(stage) for key, stage in strategy.items()}}
    return "mixture", {**options, "shares": _numbers(strategy)}


def _numbers(stage: Any) -> Any:
    if isinstance(stage, str):
        return stage
    try:
        return {str(name): float(share) for name, share in stage.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(_FORMS) from None
