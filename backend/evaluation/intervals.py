"""How far a figure can be trusted: Wilson's interval for shares, the bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.metrics import Predicted
from nextlabel.connectors.errors import LearningError

from .resampled import Counts, Resampled, Scores

LEVEL = 0.95
RESAMPLES = 1000
CELLS = 4_000_000  # of the counts [resamples, rows] that are held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval around it; all nan where it is not defined."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Its three numbers; JSON has no nan, so what is not defined is null."""
        return {key: value if value == value else None for key, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.mean == self.mean else "–"


def wilson_interval(correct: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval for a share of ``correct`` among ``n`` (Wilson, 1927): (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    figure: Resampled,
    runs: Sequence[Predicted],
    targets: Targets,
    *,
    groups: npt.NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The figure's mean over ``runs`` and its percentile interval (Efron, 1979) over resampled rows.

    ``runs``: float32 [n, c] each, predictions for the same rows from several seeds. Rows with equal ``groups`` [n]
    are drawn together or not at all: they tell less than as many independent rows, and the interval says so. Where
    every resample gives the same value (a perfect score), the bootstrap knows no doubt and Wilson's interval stands in.
    """
    size = len(targets)
    whole = np.ones((1, size), np.float32)
    if size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(np.mean([figure(run, targets, whole)[0] for run in runs]))
    if mean != mean:
        return Interval(mean, mean, mean)
    scores = resampled_scores(figure, runs, targets, groups=groups, resamples=resamples, seed=seed)
    low, high = percentiles(scores, level)
    if high - low < 1e-9:
        low, high = wilson_interval(mean * _units(groups, size), _units(groups, size), level)
    return Interval(mean, min(low, mean), max(high, mean))


def resampled_scores(
    figure: Resampled,
    runs: Sequence[Predicted],
    targets: Targets,
    *,
    groups: npt.NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """The figure, mean over ``runs``, on each of the resamples, float64 [resamples]. The same seed draws the same."""
    if resamples < 1:
        raise LearningError(f"{resamples} resamples give no interval; 1000 is usual")
    rng = np.random.default_rng(seed)
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    step = max(1, CELLS // max(len(targets), 1))
    parts = []
    for start in range(0, resamples, step):
        counts = draw(len(targets), min(step, resamples - start), rng, codes)
        parts.append(np.mean([figure(run, targets, counts) for run in runs], axis=0))
    return np.concatenate(parts)


def draw(size: int, resamples: int, rng: np.random.Generator, codes: npt.NDArray[np.int64] | None = None) -> Counts:
    """How often each row is drawn, float32 [resamples, size]; whole groups where ``codes`` int64 [size] name them."""
    units = size if codes is None else int(codes.max()) + 1
    counts = np.empty((resamples, units), np.float32)
    for at in range(resamples):
        counts[at] = np.bincount(rng.integers(units, size=units), minlength=units)
    return counts if codes is None else counts[:, codes]


def percentiles(scores: Scores, level: float = LEVEL) -> tuple[float, float]:
    """The middle ``level`` of the scores that are defined; (nan, nan) if none is."""
    known = scores[np.isfinite(scores)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _units(groups: npt.NDArray[Any] | None, size: int) -> int:
    return size if groups is None else len(np.unique(groups))
