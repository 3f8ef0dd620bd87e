"""A simulation in several processes that is killed: the curves that it had finished are whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextlabel.backend.simulation.replay import Curve

PATIENCE_S = 120.0  # a busy machine

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
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
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
