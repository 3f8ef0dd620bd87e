"""Many curves: kept when they are finished, whoever kills the run, and the same in one process or in several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextlabel.backend.selection import Random
from nextlabel.backend.simulation import Plan, replay, run
from nextlabel.backend.simulation.replay import Curve
from nextlabel.backend.simulation.running import Curves, Finished
from nextlabel.connectors.errors import ConfigError

from .made import clusters
from .strategies import registered

PLAN = Plan(budget=12, batch=6)
PATIENCE_S = 120.0  # a busy machine


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


SCRIPT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may have it ignored
sys.path.insert(0, {tests!r})
from made import clusters
from nextlabel.backend.simulation import Plan, run

if __name__ == "__main__":
    run(clusters(), Plan(budget=120, batch=1), ["margin"], 20, Path(sys.argv[1]), jobs=2,
        report=lambda one: print(one.done, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_it_leaves_whole_curves_and_no_process(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "kept")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while (line := process.stdout.readline()) and int(line) < 2:
        pass
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: everybody gets it
    else:
        process.kill()
    process.wait(timeout=PATIENCE_S)
    until = time.monotonic() + PATIENCE_S
    while _alive(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _alive(process.pid)
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    kept = list((tmp_path / "kept").glob("*/*.json"))
    assert len(kept) >= 2
    assert all(Curve.from_json(path.read_text()).scores for path in kept)


def _alive(session: int) -> bool:
    """Whether any process of the session is left."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            return True
    return False
