"""Shares that change as labels come in, and the forms in which a recipe declares them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.selection import ArrayVectors, Pool, Schedule, choose, declared, get_strategy, relabels
from nextlabel.connectors.errors import ConfigError
from tests.backend.annotators.crowd import numbered

STAGES: dict[int, str | dict[str, float]] = {0: "typiclust", 100: {"margin": 3, "random": 1}, 300: {"margin": 1}}


def test_each_stage_holds_until_the_next() -> None:
    schedule = Schedule(STAGES)
    assert schedule.shares_at(0) == schedule.shares_at(99) == {"typiclust": 1.0}
    assert schedule.shares_at(100) == schedule.shares_at(299) == {"margin": 0.75, "random": 0.25}
    assert schedule.shares_at(300) == schedule.shares_at(10**6) == {"margin": 1.0}


def test_smooth_shares_move_in_a_straight_line() -> None:
    schedule = Schedule(STAGES, smooth=True)
    assert schedule.shares_at(0) == {"typiclust": 1.0}
    assert schedule.shares_at(60) == pytest.approx({"typiclust": 0.4, "margin": 0.45, "random": 0.15})
    assert schedule.shares_at(100) == {"margin": 0.75, "random": 0.25}
    assert schedule.shares_at(200) == pytest.approx({"margin": 0.875, "random": 0.125})
    assert schedule.shares_at(300) == {"margin": 1.0}


def pool(labels: int) -> Pool:
    lead = np.linspace(0, 1, 200)
    p = np.stack([(1 + lead) / 2, (1 - lead) / 2], axis=1).astype(np.float32)
    vectors = np.random.default_rng(0).standard_normal((200 + labels, 4)).astype(np.float32)
    return Pool(p, ArrayVectors(vectors[:200]), vectors[200:], np.zeros(labels, np.int64))


def test_the_number_of_labels_decides_who_chooses() -> None:
    schedule = Schedule({0: "random", 5: "margin"})
    rng = np.random.default_rng(0)
    assert schedule.query(pool(5), 10, rng).tolist() == list(range(10)), "the smallest margins"
    assert schedule.query(pool(4), 10, rng).max() > 20


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "0 labels"),
        ({10: "margin"}, "what holds from 0 labels on"),
        ({"soon": "margin"}, "numbers of labels, not at 'soon'"),
        ({-1: "margin", 0: "margin"}, "numbers of labels"),
        ({0: {}}, "shares must name strategies"),
        ({0: {"margin": -1}}, "above 0"),
        ({0: "margni"}, "did you mean margin"),
    ],
)
def test_stages_that_make_no_schedule(stages: dict[int, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_strategy("schedule", stages=stages)


def test_a_stage_that_does_not_weigh_answers_sees_none() -> None:
    schedule = Schedule({0: "activelab", 5: "random"})
    assert relabels(schedule)
    one = np.arange(150)
    answered = numbered(one, np.zeros_like(one), np.zeros_like(one), *pool(4).probabilities.shape)
    rng = np.random.default_rng(0)
    assert choose(schedule, replace(pool(4), opinions=answered), 100, rng).min() < 150
    later = choose(schedule, replace(pool(5), opinions=answered), 100, rng)
    assert sorted(later) == list(range(150, 200)), "there are no more"


def test_the_short_forms() -> None:
    assert declared("margin", {"a": 1}) == ("margin", {"a": 1})
    assert declared({"margin": "0.7", "random": 0.3}, {}) == ("mixture", {"shares": {"margin": 0.7, "random": 0.3}})
    assert declared({"0": "typiclust", "50": {"margin": "1"}}, {"smooth": True}) == (
        "schedule",
        {"stages": {0: "typiclust", 50: {"margin": 1.0}}, "smooth": True},
    )


def recipe(folder: Path, strategy: str) -> Recipe:
    (folder / "r.csv").write_text("text\nhello\n")
    path = folder / "r.yaml"
    path.write_text(f"data: r.csv\nlabels: [a, b]\nstrategy:\n{strategy}")
    return Recipe.from_yaml(path)


def test_a_recipe_declares_it(tmp_path: Path) -> None:
    text = "  0: typiclust\n  50: {margin-diverse: 0.8, random: 0.2}\nstrategy_options: {smooth: true}\n"
    made = recipe(tmp_path, text)
    strategy = get_strategy(made.strategy, **made.strategy_options)
    assert strategy == Schedule({0: "typiclust", 50: {"margin-diverse": 0.8, "random": 0.2}}, smooth=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  0: margin\n  random: 0.5\n", r"r.yaml:3: strategy: .*mixes numbers of labels and names; write a name"),
        ("  5: margin\n", r"r.yaml:3: strategy schedule: say what holds from 0 labels on"),
        ("  0: [margin]\n", r"r.yaml:3: strategy: write a name; or names with shares"),
        ("  0: margni\n", r"r.yaml:3: .*did you mean margin"),
        ("  0: margin\nstrategy_options: {smooth: perhaps}\n", "smooth is true or false, not 'perhaps'"),
    ],
)
def test_a_mistake_in_a_recipe_is_answered_with_the_line_and_the_fix(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(tmp_path, text)
