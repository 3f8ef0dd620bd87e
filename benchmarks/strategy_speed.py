"""Every strategy once over a pool of made-up records: seconds to choose, and memory.

Vectors lie around twenty centres and are half precision, as in the cache; predictions are made up. 500 records are
labelled; ActiveLab also gets 4,000 answers of two annotators about records of the pool. On a busy machine look at the
CPU time. Vectors are held in memory here, which is most of what is shown as peak memory.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.selection import ArrayVectors, Pool, Spans, get_strategy, relabels, strategy_names

LABELLED, CLASSES, CENTRES = 500, 4, 20


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="strategy_speed", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queue", type=int, default=250, help="records that are chosen")
    parser.add_argument("--strategies", nargs="+", default=strategy_names())
    options = parser.parse_args(argv)
    pool = _pool(options.records, options.dimension)
    figures = {name: _measure(name, pool, options.queue) for name in options.strategies}
    rows = [[name, f"{one['cpu']:.2f} s", f"{one['wall']:.2f} s"] for name, one in figures.items()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"records": options.records, "queue": options.queue, "peak_bytes": peak, "s": figures}
    return publish("strategy_speed", result, ["strategy", "CPU time", "wall time"], rows)


def _measure(name: str, pool: Pool, k: int) -> dict[str, float]:
    strategy = get_strategy(name)
    if not relabels(strategy):
        pool = replace(pool, opinions=None)
    strategy.query(pool.only(np.arange(min(1_000, len(pool)))), 10, np.random.default_rng(0))  # what is loaded once
    began, worked = time.perf_counter(), time.process_time()
    strategy.query(pool, k, np.random.default_rng(0))
    return {"cpu": time.process_time() - worked, "wall": time.perf_counter() - began}


def _pool(n: int, dimension: int) -> Pool:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CENTRES, dimension), dtype=np.float32)
    vectors = np.empty((n + LABELLED, dimension), dtype=np.float16)
    for start in range(0, len(vectors), 10_000):
        of = rng.integers(0, CENTRES, len(vectors[start : start + 10_000]))
        vectors[start : start + 10_000] = centres[of] + 1.5 * rng.standard_normal((len(of), dimension), np.float32)
    p = rng.dirichlet(np.full(CLASSES, 0.5), n + LABELLED).astype(np.float32)
    answered = min(2_000, n)
    twice = np.repeat(np.arange(answered), 2)
    who = np.tile([0, 1], answered)
    said = rng.integers(0, CLASSES, len(twice))
    return Pool(
        p[:n],
        ArrayVectors(vectors[:n]),
        vectors[n:].astype(np.float32),
        rng.integers(0, CLASSES, LABELLED),
        labelled_probabilities=p[n:],
        opinions=Opinions(twice, who, said, n, ("one", "two"), tuple(map(str, range(CLASSES)))),
        spans=Spans(rng.integers(0, n, n), rng.integers(0, 3, n), rng.random(n, dtype=np.float32)),
    )
