"""How often the intervals hold the truth: positives remaining, and accuracy on the audit slice; 500 simulations each.

A simulation draws a pool of 2,000 to 50,000 records with its own share of positives and an audit slice of 200 to 500; a
model's scores find twice as many records as there are positives, and what it found is biased as a queue is. Told apart
by how many positives the audit slice can be expected to hold: with few, no interval of whole numbers is exact.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.evaluation import remaining_positives, wilson_interval

SIMULATIONS = 500
EXPECTED = ((0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 50))  # positives in the audit slice
ACCURACIES = (0.6, 0.8, 0.9, 0.95, 0.97)


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    options = parser.parse_args(argv)
    found: dict[str, dict[str, float]] = {}
    for low, high in EXPECTED:
        rng = np.random.default_rng(int(100 * low))
        found[f"positives remaining, {low:g} to {high:g} audited"] = _mean(
            [search(rng, low, high) for _ in range(options.simulations)]
        )
    rng = np.random.default_rng(1)
    found["positives remaining, 2 to 50 audited"] = _mean([search(rng, 2, 50) for _ in range(options.simulations)])
    for truth in ACCURACIES:
        rng = np.random.default_rng(int(100 * truth))
        found[f"audit accuracy, {truth:g}"] = _mean([audit(rng, truth) for _ in range(options.simulations)])
    rng = np.random.default_rng(2)
    found["audit accuracy, 0.6 to 0.97"] = _mean([audit(rng, rng.uniform(0.6, 0.97)) for _ in range(SIMULATIONS)])
    rows = [[name, f"{one['coverage']:.1%}", f"{one['width']:.3g}", "93% to 97%"] for name, one in found.items()]
    columns = ["figure", "holds the truth", "mean width", "goal"]
    return publish("coverage", {"simulations": options.simulations, "found": found}, columns, rows)


def search(rng: np.random.Generator, low: float, high: float) -> tuple[bool, float]:
    """Whether the interval of positives remaining holds the truth, and its width as a share of the pool."""
    pool, audited = int(np.exp(rng.uniform(np.log(2_000), np.log(50_000)))), int(rng.integers(200, 501))
    share = np.exp(rng.uniform(np.log(low), np.log(high))) / audited
    positive = rng.random(pool) < share
    audit_slice, queue = np.split(rng.permutation(pool), [audited])
    scores = rng.normal(size=len(queue)) + 2 * positive[queue]
    asked = queue[np.argsort(-scores)[: 2 * int(positive.sum())]]
    hits, found = int(positive[audit_slice].sum()), int(positive[asked].sum())
    told = remaining_positives(
        pool=pool, audited=audited, hits=hits, labelled=audited + len(asked), found=hits + found
    ).remaining
    left = int(positive.sum()) - hits - found
    return told.low <= left <= told.high, (told.high - told.low) / pool


def audit(rng: np.random.Generator, truth: float) -> tuple[bool, float]:
    """Whether Wilson's interval of an audit of 50 to 500 records holds the true accuracy, and its width."""
    size = int(rng.integers(50, 501))
    low, high = wilson_interval(rng.binomial(size, truth), size)
    return low <= truth <= high, high - low


def _mean(runs: Sequence[tuple[bool, float]]) -> dict[str, float]:
    held, widths = zip(*runs, strict=True)
    return {"coverage": float(np.mean(held)), "width": float(np.mean(widths))}


if __name__ == "__main__":
    main()
