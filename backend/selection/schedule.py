"""A mixture whose shares change as labels come in, and the short forms in which recipes write mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .base import Indices, Pool, choose
from .mixture import Mixture
from .registry import register

Shares = Mapping[str, float]

_FORMS = (
    "write a name; or names with shares, as in {margin: 0.7, random: 0.3}; or from how many labels on which of these "
    "holds, as in {0: typiclust, 50: {margin: 0.7, random: 0.3}}"
)


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
