"""How often 95% intervals hold the truth: of figures of predictions, positives remaining, and audit accuracy.

Figures: a made-up population of texts with known answers and the probabilities that a model gives, single labels and
several, even and rare, in groups and not, calibrated and too sure (``POPULATIONS``). The truth is the figure of 400,000
rows; samples of 50, 200 and 1,000 are drawn, and intervals made of each as ``nextlabel evaluate`` makes them. How many
samples have too few rows of some label to say how sure a figure is stands beside the share of the others that hold it.

Positives remaining: a pool of 2,000 to 50,000 records with its own share of positives, an audit slice of 200 to 500; a
model's scores find twice as many records as there are positives, and what it found is biased as a queue is. Told apart
by how many positives the audit slice can be expected to hold: with few, no interval of whole numbers is exact.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import publish
from nextlabel.backend.activation import Targets
from nextlabel.backend.evaluation import confidence_interval, remaining_positives, wilson_interval
from nextlabel.backend.metrics import FIGURES, Predicted

SIMULATIONS = 500
EXPECTED = ((0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 50))  # positives in the audit slice
ACCURACIES = (0.6, 0.8, 0.9, 0.95, 0.97)
SIZES = (50, 200, 1000)
TRUTH = 400_000  # rows


@dataclass(frozen=True, slots=True)
class Population:
    """Texts of classes with these ``shares``; ``apart``: how well the model tells them.

    Probabilities are right at ``temperature`` 1, too sure below. ``of_group`` rows are written by one hand each, with a
    mix of classes and a way of writing of its own. ``several``: each class is there or not, none excluding another.
    """

    shares: tuple[float, ...]
    apart: float
    temperature: float = 1.0
    of_group: int = 1
    several: bool = False

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Predicted, Targets, npt.NDArray[np.int64]]:
        """Probabilities float32 [size, c], answers, and the group of each row."""
        shares, classes = np.array(self.shares), len(self.shares)
        groups = np.arange(size) // self.of_group
        hands = int(groups[-1]) + 1
        writing = rng.normal(size=(size, classes))
        if self.several:
            present = rng.random((size, classes)) < shares
            odds = np.log(shares / (1 - shares)) + self.apart * (writing + self.apart * (present - 0.5))
            return (1 / (1 + np.exp(-odds / self.temperature))).astype(np.float32), present, groups
        mixes = np.tile(shares, (size, 1))
        if self.of_group > 1:
            mixes = rng.dirichlet(4 * shares, hands)[groups]
            writing = 0.6 * writing + 0.8 * rng.normal(size=(hands, classes))[groups]
        answers = np.minimum((rng.random((size, 1)) > mixes.cumsum(axis=1)).sum(axis=1), classes - 1)
        writing[np.arange(size), answers] += self.apart
        odds = (np.log(shares) + self.apart * writing) / self.temperature
        chances = np.exp(odds - odds.max(axis=1, keepdims=True))
        return (chances / chances.sum(axis=1, keepdims=True)).astype(np.float32), answers.astype(np.int64), groups


FIVE, TWENTY = (0.5, 0.25, 0.15, 0.07, 0.03), tuple((1 / np.arange(1, 21) / (1 / np.arange(1, 21)).sum()).tolist())
POPULATIONS = {
    "two": Population((0.5, 0.5), 1.5),
    "two, well told": Population((0.5, 0.5), 2.7),
    "a tenth": Population((0.9, 0.1), 1.8),
    "a tenth, too sure": Population((0.9, 0.1), 1.8, temperature=0.3),
    "3 in 100": Population((0.97, 0.03), 2.2),
    "five, even": Population((0.2,) * 5, 1.8),
    "five, even, well told": Population((0.2,) * 5, 3.2),
    "five, uneven": Population(FIVE, 2.2),
    "twenty, uneven": Population(TWENTY, 3.0),
    "four of several": Population((0.4, 0.25, 0.12, 0.06), 1.8, several=True),
    "two, in groups": Population((0.5, 0.5), 1.5, of_group=5),
    "a tenth, in groups": Population((0.9, 0.1), 2.0, of_group=5),
    "five, in groups": Population((0.4, 0.25, 0.15, 0.1, 0.1), 2.2, of_group=5),
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals held the truth, their mean width, and of how many samples there was none to make."""

    holds: float
    width: float
    too_few: float


def coverage(
    population: Population, size: int, draws: int, figures: Sequence[str] = tuple(FIGURES), *, grouped: bool = True
) -> dict[str, Coverage]:
    """By figure, over samples of ``size`` rows. Without ``grouped``, rows count as if none had to do with another."""
    predicted, targets, _ = population.draw(TRUTH, np.random.default_rng(99))
    truth = {name: FIGURES[name](predicted, targets) for name in figures}
    told: dict[str, list[tuple[bool, float]]] = {name: [] for name in figures}
    for number in range(draws):
        predicted, targets, groups = population.draw(size, np.random.default_rng([number, size]))
        for name in figures:
            units = groups if grouped and population.of_group > 1 else None
            found = confidence_interval(FIGURES[name], [predicted], targets, groups=units)
            if found.told:
                told[name].append((found.low <= truth[name] <= found.high, found.high - found.low))
    return {name: _summed(one, draws) for name, one in told.items()}


def _summed(told: Sequence[tuple[bool, float]], draws: int) -> Coverage:
    if not told:
        return Coverage(float("nan"), float("nan"), 1.0)
    held, widths = zip(*told, strict=True)
    return Coverage(float(np.mean(held)), float(np.mean(widths)), 1 - len(told) / draws)


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--figures", action="store_true", help="figures of predictions alone")
    options = parser.parse_args(argv)
    figures = figures_of_predictions(options.simulations)
    if options.figures:
        return figures
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


def figures_of_predictions(draws: int) -> dict[str, Any]:
    """A row for every population and size, and the mean of each figure over those with something to say."""
    found = {
        f"{name}, {size:,} rows": coverage(population, size, draws)
        for name, population in POPULATIONS.items()
        for size in SIZES
    }
    rows = [[name, *(_shown(one) for one in by_figure.values())] for name, by_figure in found.items()]
    for size in SIZES:
        ofsize = [one for name, one in found.items() if name.endswith(f", {size:,} rows")]
        means = (np.nanmean([one[figure].holds for one in ofsize if one[figure].too_few < 0.5]) for figure in FIGURES)
        rows.append([f"all, {size:,} rows", *(f"{mean:.1%}" for mean in means)])
    plainly = {name: {figure: vars_of(one) for figure, one in by.items()} for name, by in found.items()}
    return publish("coverage", {"draws": draws, "found": plainly}, ["population", *FIGURES], rows)


def vars_of(one: Coverage) -> dict[str, float | None]:
    """Plain values; None where there was no interval at all."""
    known = one.too_few < 1
    return {"holds": one.holds if known else None, "width": one.width if known else None, "too_few": one.too_few}


def _shown(one: Coverage) -> str:
    few = f", {one.too_few:.0%} too few" if one.too_few else ""
    return f"{one.holds:.1%}{few}" if one.too_few < 1 else "too few"


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
