"""A pool of 1,000,000 x 384 in a file: score it, diversify, choose 500; seconds and peak memory.

The vectors are made up: two classes, one record in 500 positive, unit length. A process of its own does the work for
each kind of number and each strategy, with the probe of the loop on 2,000 labels, 50 of them positive: every record is
scored, then the strategy chooses. ``cold``: the system was told to forget the file, so it is read from the disk.
Memory is the peak of the process with all its libraries (VmHWM, Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.reporting import publish
from nextlabel.backend.files import Reader

DIMENSION, BLOCK = 384, 20_000
EVERY = 500  # one record in so many is positive
LABELS, POSITIVES = 2_000, 50
GOAL_S, GOAL_BYTES = 10.0, 2 * 2**30
STRATEGIES = ("margin-diverse", "certainty", "nearest-positive", "anchor", "rare")


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="million", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--choose", type=int, default=500)
    parser.add_argument("--numbers", nargs="+", choices=("float16", "float32"), default=["float16", "float32"])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--child", nargs=2, metavar=("FILE", "STRATEGY"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        return _child(Path(options.child[0]), options.child[1], options.choose)
    found: dict[str, Any] = {}
    for numbers in options.numbers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npy"
            make(path, options.records, numbers)
            for strategy in options.strategies:
                for cold in (True, False):
                    if cold:
                        _forget(path)
                    line = ["-m", "benchmarks", "million", "--", "--choose", str(options.choose), "--child"]
                    done = subprocess.run(
                        [sys.executable, *line, str(path), strategy], check=True, capture_output=True, text=True
                    )
                    found[f"{numbers}, {strategy}, {'cold' if cold else 'warm'}"] = json.loads(
                        done.stdout.splitlines()[-1]
                    )
    rows = [
        [
            key,
            *(f"{one[part]:.2f} s" for part in ("score", "choose", "whole", "cpu")),
            f"{one['peak'] / 2**20:,.0f} MB",
            f"< {GOAL_S:g} s, < {GOAL_BYTES / 2**30:g} GB",
        ]
        for key, one in found.items()
    ]
    columns = ["numbers, strategy, file", "score", "choose", "whole", "CPU", "peak memory", "goal"]
    return publish("million", {"records": options.records, "choose": options.choose, "found": found}, columns, rows)


def make(path: Path, records: int, numbers: str) -> None:
    """Write the matrix block by block; a record is positive where its number is a multiple of 500."""
    centre = np.random.default_rng(0).normal(size=DIMENSION).astype(np.float32)
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=numbers, shape=(records, DIMENSION))
    for start in track(range(0, records, BLOCK), description=f"{records:,} {numbers}"):
        size = min(BLOCK, records - start)
        block = np.random.default_rng([1, start]).standard_normal((size, DIMENSION), np.float32)
        block[np.arange(start, start + size) % EVERY == 0] += 0.5 * centre
        matrix[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    matrix.flush()


def _forget(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _child(path: Path, strategy: str, choose: int) -> dict[str, Any]:
    """Print what one strategy took, as JSON."""
    from nextlabel.backend.models.probe import Probe, score_pool
    from nextlabel.backend.selection import Pool, get_strategy

    matrix = np.load(path, mmap_mode="r")
    numbers = np.arange(len(matrix), dtype=np.int64)
    rng = np.random.default_rng(2)
    positives = rng.choice(numbers[::EVERY], min(POSITIVES, len(numbers[::EVERY]) // 2), replace=False)
    others = rng.choice(numbers[numbers % EVERY != 0], min(LABELS - POSITIVES, len(numbers) // 10), replace=False)
    labelled = np.concatenate([positives, others])
    targets = np.where(labelled % EVERY == 0, 0, 1)
    known = matrix[labelled].astype(np.float32)
    probe = Probe.fit(known, targets, 2)
    left = np.delete(numbers, labelled)
    started, worked = time.perf_counter(), time.process_time()
    probabilities = score_pool(probe, matrix, left)
    scored = time.perf_counter()
    pool = Pool(probabilities, _Left(matrix, left), known, targets)
    chosen = get_strategy(strategy).query(pool, choose, rng)
    ended, cpu = time.perf_counter(), time.process_time() - worked
    assert len(set(chosen.tolist())) == choose
    hits = float((left[chosen] % EVERY == 0).mean())
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    result = {"score": scored - started, "choose": ended - scored, "whole": ended - started}
    result |= {"cpu": cpu, "peak": peak * 1024, "positive": hits}
    print(json.dumps(result))
    return result


class _Left:
    """The vectors of the records without a label, in a mapped file, read as the embedding cache reads its own."""

    def __init__(self, matrix: np.ndarray, left: np.ndarray) -> None:
        self._matrix, self._left, self._reader = matrix, left, Reader()

    def take(self, indices: np.ndarray) -> np.ndarray:
        """float [k, d]."""
        taken: np.ndarray = np.array(self._matrix[self._left[indices]], copy=True)
        self._reader.read(self._matrix, len(indices))
        return taken


if __name__ == "__main__":
    main(sys.argv[1:])
