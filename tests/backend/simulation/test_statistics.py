"""From curves to figures and to a recommendation that chance alone seldom gets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nextlabel.backend.simulation import Plan, Runs, run, summarise
from nextlabel.backend.simulation.plan import Target
from nextlabel.backend.simulation.replay import Curve
from nextlabel.backend.simulation.statistics import area, labels_to, ratio_interval, t_interval
from tests import size

from .made import clusters
from .strategies import Peeking, registered, twin

LABELS = (0, 10, 20)


def runs(full: float = 1.0, **scores: list[list[float]]) -> Runs:
    """Curves made up: for every strategy a list of scores a seed; ``_`` in a name stands for ``-``."""
    curves = {
        name.replace("_", "-"): [
            Curve(name, seed, LABELS[: len(row)], tuple(row), 0.0) for seed, row in enumerate(rows)
        ]
        for name, rows in scores.items()
    }
    return Runs(curves, [full] * len(next(iter(curves.values()))))


def test_the_t_interval_is_that_of_scipy() -> None:
    values = [0.1, 0.4, 0.35, 0.8]
    found = t_interval(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert math.isnan(t_interval([0.5]).low)
    assert t_interval([0.5]).mean == 0.5


def test_the_interval_of_a_ratio_covers_it() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1_000):
        below = rng.normal(100, 15, 8)
        above = 0.6 * below + rng.normal(0, 8, 8)
        found = ratio_interval(above, below)
        covered += found.low <= 0.6 <= found.high
    assert 0.92 < covered / 1_000 < 0.98
    assert math.isnan(ratio_interval(np.ones(3), np.zeros(3)).mean)


def test_area_and_labels_to_a_target() -> None:
    scores = np.array([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])
    assert area(LABELS, scores).tolist() == [0.5, 1.0]
    assert labels_to(0.75, LABELS, scores[0]) == 15
    assert labels_to(0.5, LABELS, scores[1]) == 0
    assert labels_to(0.9, LABELS, [0.1, 0.2, 0.3]) == math.inf


def test_figures_against_random_seed_by_seed() -> None:
    found = summarise(runs(random=[[0.2, 0.4, 0.6], [0.3, 0.5, 0.7]], margin=[[0.2, 0.6, 0.8], [0.3, 0.7, 0.85]]))
    margin, random = found.strategies["margin"], found.strategies["random"]
    assert margin.final.mean == pytest.approx(0.825)
    assert margin.error_ratio.mean == pytest.approx(0.175 / 0.35)
    assert random.error_ratio.mean == 1
    assert margin.gain.mean == pytest.approx((0.15 + 0.1375) / 2)
    assert margin.lead[0].mean == 0
    assert margin.curve[1].mean == pytest.approx(0.65)
    for one in (margin.final, margin.area, *margin.curve):
        assert 0 <= one.low <= one.mean <= one.high <= 1


def test_what_is_never_reached_has_no_mean() -> None:
    found = summarise(
        runs(random=[[0, 0.5, 0.7], [0, 0.5, 0.95]], margin=[[0, 0.8, 1.0], [0, 0.9, 1.0]]), Target(0.9, of_full=False)
    )
    random, margin = found.strategies["random"], found.strategies["margin"]
    assert (random.labels_to_target.reached, random.labels_to_target.seeds) == (1, 2)
    assert math.isnan(random.labels_to_target.interval.mean)
    at_least = (20 + labels_to(0.9, LABELS, [0, 0.5, 0.95])) / 2
    assert random.labels_to_target.interval.low == pytest.approx(at_least)
    assert random.labels_to_target.to_json()["high"] is None
    assert "1 of 2 seeds got there" in str(random.labels_to_target)
    assert margin.labels_to_target.interval.mean == pytest.approx(12.5)
    assert margin.at_most
    assert margin.labels_ratio.mean == pytest.approx(12.5 / at_least)
    assert math.isnan(random.labels_ratio.mean)


def wobbling(gain: float, seeds: int = 8, spread: float = 0.01, seed: int = 0) -> list[list[float]]:
    return [[0.2, 0.4 + gain + one, 0.6 + gain] for one in np.random.default_rng(seed).normal(0, spread, seeds)]


def test_the_simplest_of_those_that_cannot_be_told_apart_is_recommended() -> None:
    found = summarise(runs(random=wobbling(0), badge=wobbling(0.101, seed=1), margin=wobbling(0.1, seed=2)))
    assert found.recommended == "margin"
    assert found.better == ["badge", "margin"]
    found = summarise(runs(random=wobbling(0), badge=wobbling(0.2, seed=1), margin=wobbling(0.1, seed=2)))
    assert found.recommended == "badge"


def test_none_is_recommended_for_a_loser_one_seed_or_nothing_to_compare() -> None:
    found = summarise(runs(random=wobbling(0), margin=wobbling(-0.1, seed=1)))
    assert (found.recommended, found.worse) == (None, ["margin"])
    assert found.why.startswith("none is shown to beat random")
    found = summarise(runs(random=wobbling(0, 1), margin=wobbling(0.5, 1)))
    assert found.recommended is None
    assert "one seed" in found.why
    assert found.strategies["margin"].final.to_json()["low"] is None
    assert summarise(runs(random=wobbling(0))).recommended is None


@pytest.mark.parametrize("count", [1, 4, 8])
def test_chance_is_recommended_seldom_however_many_strategies_there_are(count: int) -> None:
    """Twins of random with skewed noise: without the correction, 8 of them would be recommended in 15 of 100 cases."""
    rng, wrong = np.random.default_rng(count), 0
    for _ in range(200):
        made = rng.gamma(4.0, 0.01, (count + 1, 5))
        names = ["random", *(f"twin{at}" for at in range(count))]
        scores: dict[str, Any] = {name: [[0.2, one, one] for one in row] for name, row in zip(names, made, strict=True)}
        found = summarise(runs(**scores))
        wrong += found.recommended is not None
    assert wrong / 200 <= 0.05


def test_a_strategy_that_peeks_is_recommended_and_randoms_twin_is_not(tmp_path: Path) -> None:
    material = clusters(n=240, classes=4, shares=[0.85, 0.05, 0.05, 0.05])
    with registered(peeking=lambda: Peeking(material), twin=twin):
        found = summarise(run(material, Plan(24, 12), ["peeking", "twin"], 5, tmp_path))
    assert found.recommended == "peeking"
    assert found.strategies["peeking"].error_ratio.high < 1


def test_randoms_twin_is_recommended_in_few_of_many_simulations(tmp_path: Path) -> None:
    """With the real learner; at the claimed 2.5 of 100, three or more of 20 have a chance of 1 in 100."""
    many, wrong = size.count(20, fast=5), 0
    with registered(twin=twin, other_twin=twin):
        for at in range(many):
            found = run(clusters(n=60, seed=at), Plan(12, 12, start=6), ["twin", "other-twin"], 3, tmp_path)
            wrong += summarise(found).recommended is not None
    assert wrong <= 2
