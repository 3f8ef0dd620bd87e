"""Many curves: kept when they are finished, whoever kills the run, and the same in one process or in several."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.selection import Random
from nextlabel.backend.simulation import Plan, replay, run
from nextlabel.backend.simulation.runs import Curves, Finished
from nextlabel.connectors.errors import ConfigError

from .made import clusters
from .strategies import registered

PLAN = Plan(budget=12, batch=6)


def scores(found) -> dict[str, list[tuple[float, ...]]]:
    return {name: [curve.scores for curve in curves] for name, curves in found.curves.items()}


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    material = clusters()
    told: list[Finished] = []
    spread = run(material, PLAN, ["margin"], 2, tmp_path / "several", jobs=2, report=told.append)
    alone = run(material, PLAN, ["margin"], 2, tmp_path / "one")
    assert scores(spread) == scores(alone)
    assert spread.full == alone.full
    assert list(spread.curves) == ["margin", "random"]
    assert [one.done for one in told] == list(range(7))
    assert not list(tmp_path.rglob("*.npy")), "the shared files go when all is done"


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    material, begun = clusters(), []

    class Failing(Random):
        """Breaks in the second of three seeds, until it is mended."""

        def query(self, pool, k, rng):
            begun.append(1)
            if len(begun) == 3:
                raise KeyboardInterrupt
            return super().query(pool, k, rng)

    with registered(failing=Failing):
        with pytest.raises(KeyboardInterrupt):
            run(material, PLAN, ["failing"], 3, tmp_path)
        told: list[Finished] = []
        found = run(material, PLAN, ["failing"], 3, tmp_path, report=told.append)
        assert (told[0].done, told[0].total, told[0].kept) == (4, 9, True), "three of all labels, and one curve"
        assert scores(found)["failing"] == [replay(material, PLAN, "failing", seed).scores for seed in range(3)]


def test_a_curve_that_is_broken_is_made_again_and_fresh_makes_all(tmp_path: Path) -> None:
    material = clusters()
    first = run(material, PLAN, [], 1, tmp_path)
    place = Curves.of(tmp_path, material, PLAN)
    place.path("random", 0).write_text('{"strategy": "random", "sco')
    told: list[Finished] = []
    assert scores(run(material, PLAN, [], 1, tmp_path, report=told.append)) == scores(first)
    assert told[0].done == 1
    told.clear()
    run(material, PLAN, [], 1, tmp_path, fresh=True, report=told.append)
    assert told[0].done == 0


def test_other_data_and_other_plans_have_curves_of_their_own(tmp_path: Path) -> None:
    places = {
        Curves.of(tmp_path, material, plan).folder
        for material in (clusters(), clusters(seed=1))
        for plan in (PLAN, Plan(12, 6, noise=0.1))
    }
    assert len(places) == 4


def test_unknown_strategies_and_budgets_too_large_are_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean margin"):
        run(clusters(), PLAN, ["margn"], 2, tmp_path)
    with pytest.raises(ConfigError, match="lower the budget"):
        run(clusters(), Plan(budget=180), ["margin"], 2, tmp_path)
    with pytest.raises(ConfigError, match="seeds is 0"):
        run(clusters(), PLAN, ["margin"], 0, tmp_path)
    assert not list(tmp_path.iterdir())
