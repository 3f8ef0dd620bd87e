"""From curves to figures: what each strategy reaches, how sure that is, and whether one is shown to beat random.

Seeds differ in the split, the first labels, the answers and what chance decides in a strategy; every strategy gets the
same ones. So what is compared are differences to random, seed by seed, and their intervals are Student's t (Gosset,
1908) over seeds: with the 5 to 20 seeds that people wait for, the bootstrap over seeds is known to be too narrow.
Ratios are those of the means, with the interval of the linearised ratio (Cochran, Sampling Techniques, 1977, ch. 6).
The intervals speak of other runs on these records; seeds share records, so they say less about other data.

One strategy is recommended when the interval of its gain in area over random lies above zero. The level is raised for
the number of strategies compared (Bonferroni), so that among any number of strategies as good as random, one is
recommended by chance in at most 2.5 of 100 simulations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.intervals import LEVEL, Interval

from .arms import RANDOM
from .plan import Target
from .runs import Runs

Values = npt.NDArray[np.float64]
NAN = float("nan")
NONE_SHOWN = "none is shown to beat random"
SIMPLEST = (
    "margin", "least-confidence", "entropy", "margin-diverse", "k-center", "badge", "representative", "mixture",
)  # fmt: skip
"""Ours from the simplest and cheapest on: among strategies that can't be told apart, the first is recommended."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Labels until the target. Where a seed never got there within the budget, no mean is known: only ``low``.

    ``interval``: its mean and high are nan if ``reached`` < ``seeds``; low then is the mean with the budget in the
    place of what is not known, so the true mean is higher.
    """

    interval: Interval
    reached: int
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.interval.to_json(), "reached": self.reached, "seeds": self.seeds}

    def __str__(self) -> str:
        if self.reached == self.seeds:
            return f"{self.interval.mean:,.0f}" + _range(self.interval, ",.0f")
        return f"over {self.interval.low:,.0f} ({self.reached} of {self.seeds} seeds got there)"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a strategy did, over the seeds.

    ``final``: the score at the end of the budget; ``area``: the mean score over the budget (area under the curve over
    its width); ``error_ratio``, ``area_ratio``: final error and area over random's; ``gain``: area minus random's, its
    interval widened for the number of strategies; ``final_gain``: final score minus random's. ``labels_ratio``: labels
    to the target over random's;
    ``at_most`` if random did not always get there, so the true ratio is lower; nan if the strategy did not. ``curve``
    and ``lead`` [points]: the score, and its difference to random's, after each number of labels. ``records``: how many
    records the labels of the whole budget are about.
    """

    final: Interval
    area: Interval
    labels_to_target: Reached
    error_ratio: Interval
    area_ratio: Interval
    gain: Interval
    final_gain: Interval
    labels_ratio: Interval
    at_most: bool
    curve: tuple[Interval, ...]
    lead: tuple[Interval, ...]
    seconds: float
    records: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not defined is null."""
        return {
            "final": self.final.to_json(),
            "area": self.area.to_json(),
            "labels_to_target": self.labels_to_target.to_json(),
            "error_ratio_to_random": self.error_ratio.to_json(),
            "area_ratio_to_random": self.area_ratio.to_json(),
            "area_gain_over_random": self.gain.to_json(),
            "final_gain_over_random": self.final_gain.to_json(),
            "labels_ratio_to_random": {**self.labels_ratio.to_json(), "at_most": self.at_most},
            "records": self.records.to_json(),
            "cpu_seconds_per_run": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """All strategies' figures, random's among them; ``target`` and ``full`` over the seeds; what follows from them."""

    labels: tuple[int, ...]
    strategies: dict[str, Figures]
    target: Interval
    full: Interval
    seeds: int
    recommended: str | None
    why: str

    @property
    def better(self) -> list[str]:
        """Strategies that are shown to beat random, in the order given."""
        return [name for name, one in self.strategies.items() if one.gain.low > 0]

    @property
    def worse(self) -> list[str]:
        """Strategies that are shown to lose to random."""
        return [name for name, one in self.strategies.items() if one.gain.high < 0]


def t_interval(values: Sequence[float] | Values, level: float = LEVEL) -> Interval:
    """The mean over seeds with its t interval; no bounds (nan) for a single seed."""
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, NAN, NAN)
    half = _quantile(len(array), level) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Interval(mean, mean - half, mean + half)


def ratio_interval(above: Values, below: Values, level: float = LEVEL) -> Interval:
    """mean(above) / mean(below), paired over seeds [s], with the interval of the linearised ratio; nan over zero."""
    if not below.mean() > 0:
        return Interval(NAN, NAN, NAN)
    ratio = float(above.mean() / below.mean())
    around = t_interval((above - ratio * below) / below.mean(), level)
    return Interval(ratio, ratio + around.low, ratio + around.high).within(0.0, math.inf)


def area(labels: Sequence[int], scores: Values) -> Values:
    """The mean score over the width of the curve, float64 [s], for scores [s, points] (trapezoids)."""
    if len(labels) == 1:
        return scores[:, 0]
    widths = np.diff(labels) / (labels[-1] - labels[0])
    return np.asarray((widths * (scores[:, 1:] + scores[:, :-1]) / 2).sum(axis=1), np.float64)


def labels_to(target: float, labels: Sequence[int], scores: Sequence[float] | Values) -> float:
    """Labels at which a curve first comes up to ``target``, on the line between two points; inf if it never does."""
    for at, score in enumerate(scores):
        if score >= target:
            if at == 0:
                return float(labels[0])
            share = (target - scores[at - 1]) / (score - scores[at - 1])
            return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))
    return math.inf


def summarise(runs: Runs, target: Target | None = None) -> Summary:
    """The figures of all curves, paired by seed. ``target`` defaults to 95% of what all labels give."""
    goals = (target or Target()).of(runs.full)
    labels = runs.curves[RANDOM][0].labels
    scores = {name: np.array([curve.scores for curve in curves]) for name, curves in runs.curves.items()}
    compared = max(1, len(scores) - 1)
    level = 1 - (1 - LEVEL) / compared
    needed = {
        name: np.array([labels_to(goal, labels, row) for goal, row in zip(goals, found, strict=True)])
        for name, found in scores.items()
    }
    areas = {name: area(labels, found) for name, found in scores.items()}
    figures = {
        name: Figures(
            final=_score(found[:, -1]),
            area=_score(areas[name]),
            labels_to_target=_reached(needed[name], labels[-1]),
            error_ratio=ratio_interval(1 - found[:, -1], 1 - scores[RANDOM][:, -1]),
            area_ratio=ratio_interval(areas[name], areas[RANDOM]),
            gain=t_interval(areas[name] - areas[RANDOM], level),
            final_gain=t_interval(found[:, -1] - scores[RANDOM][:, -1]),
            labels_ratio=_labels_ratio(needed[name], needed[RANDOM], labels[-1]),
            at_most=bool(np.isinf(needed[RANDOM]).any() and name != RANDOM),
            curve=tuple(_score(column) for column in found.T),
            lead=tuple(t_interval(column) for column in (found - scores[RANDOM]).T),
            seconds=float(np.mean([curve.seconds for curve in runs.curves[name]])),
            records=t_interval(np.array([(curve.records or curve.labels)[-1] for curve in runs.curves[name]], float)),
        )
        for name, found in scores.items()
    }
    recommended, why = _recommend(figures, areas, level)
    return Summary(labels, figures, _score(goals), _score(runs.full), len(runs.full), recommended, why)


def _recommend(figures: Mapping[str, Figures], areas: Mapping[str, Values], level: float) -> tuple[str | None, str]:
    """The simplest of those that beat random and can't be told from the best of them, and the reason."""
    seeds = len(areas[RANDOM])
    if len(figures) < 2:
        return None, f"{NONE_SHOWN}: nothing else was replayed"
    if seeds < 2:
        return None, f"{NONE_SHOWN}: one seed gives no interval; take 5 or more seeds"
    shown = [name for name, one in figures.items() if one.gain.low > 0]
    if not shown:
        return None, f"{NONE_SHOWN}: over {seeds} seeds, no interval of the gain in area lies above zero"
    best = max(shown, key=lambda name: float(areas[name].mean()))
    tied = [name for name in shown if not t_interval(areas[best] - areas[name], level).low > 0]
    chosen = min(tied, key=_simplicity)
    gain = figures[chosen].gain
    why = f"its area is {gain.mean:+.3f} over random's, {gain.low:+.3f} to {gain.high:+.3f}"
    if chosen != best:
        why += f"; {best} scores a little higher, but is not shown to be better, and {chosen} is simpler"
    elif len(tied) > 1:
        why += f"; {', '.join(name for name in tied if name != chosen)} can't be told from it"
    return chosen, why


def _simplicity(name: str) -> int:
    return SIMPLEST.index(name) if name in SIMPLEST else len(SIMPLEST)


def _reached(needed: Values, budget: int) -> Reached:
    known = np.isfinite(needed)
    if known.all():
        return Reached(t_interval(needed).within(0.0, math.inf), len(needed), len(needed))
    least = float(np.where(known, needed, budget).mean())
    return Reached(Interval(NAN, least, NAN), int(known.sum()), len(needed))


def _labels_ratio(needed: Values, random: Values, budget: int) -> Interval:
    """Where random is censored, the budget stands for it, and the ratio is an upper bound."""
    if not np.isfinite(needed).all():
        return Interval(NAN, NAN, NAN)
    return ratio_interval(needed, np.where(np.isfinite(random), random, budget))


def _score(values: Sequence[float] | Values) -> Interval:
    """A t interval of scores, which end at 0 and 1."""
    return t_interval(values).within(0.0, 1.0)


@cache
def _quantile(seeds: int, level: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, seeds - 1))


def _range(one: Interval, form: str) -> str:
    return f" [{one.low:{form}}, {one.high:{form}}]" if one.low == one.low else ""
