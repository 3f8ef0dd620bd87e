"""``nextlabel --help`` answers in less than 0.3 s.

The command in a process of its own, many times, beside a bare interpreter in turn with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.reporting import publish

GOAL_S = 0.3
CALLS = {
    "bare interpreter": ["-c", "pass"],
    "nextlabel --help": ["-m", "nextlabel.backend.cli", "--help"],
    "nextlabel run --help": ["-m", "nextlabel.backend.cli", "run", "--help"],
}


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure, print, and write results/startup.json."""
    parser = argparse.ArgumentParser(prog="benchmarks startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args(argv)
    taken: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(options.runs):
        for name, arguments in CALLS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - began)
    figures = {
        name: {"p50_s": round(float(np.median(times)), 3), "p95_s": round(float(np.quantile(times, 0.95)), 3)}
        for name, times in taken.items()
    }
    rows = [[name, *values.values()] for name, values in figures.items()]
    reached = figures["nextlabel --help"]["p50_s"] < GOAL_S
    return publish("startup", {"goal_s": GOAL_S, "reached": reached, **figures}, ["", "p50 s", "p95 s"], rows)
