"""How sure figures are: intervals of shares, of whatever the jackknife can be made of, and of resampled differences.

A resample is a row of ``counts`` float32 [b, n]: how often each of the n rows was drawn. Intervals of plain shares are
Wilson's. So are those of figures between 0 and 1 that are no plain share, with the number of rows that they are worth
(:func:`interval_of`); ``python -m benchmarks coverage`` tells how often they hold the truth. Differences have the
bootstrap's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.numeric import plain
from nextlabel.connectors.errors import LearningError

Counts: TypeAlias = npt.NDArray[np.floating[Any]]
Scores: TypeAlias = npt.NDArray[np.float64]
Units: TypeAlias = npt.NDArray[np.int64]
NAN = float("nan")
LEVEL = 0.95
RESAMPLES = 1000
CELLS = 4_000_000  # of the counts [resamples, rows] that are held at once
TINY = 1e-24  # a variance below is none
LEAST = 5  # units, below which nothing is said of how sure a value is
FEW = 0.1  # of the values of a mean may be so
PARTS = 200  # the most units that are left out one at a time; of more, as many parts
TOO_FEW = "too few to say how sure"


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval around it: no bounds (nan) where rows are too few to say, all nan where not defined."""

    mean: float
    low: float
    high: float

    @classmethod
    def around(cls, mean: float, drawn: Scores, level: float = LEVEL) -> Interval:
        """The figure within the percentiles of its values on resampled rows; all nan where it is not defined."""
        low, high = percentiles(drawn, level)
        return cls(mean, min(low, mean), max(high, mean)) if mean == mean else NOTHING

    def to_json(self) -> dict[str, float | None]:
        """Its three numbers; JSON has no nan, so what is not defined is null."""
        found: dict[str, float | None] = plain(self)
        return found

    def over(self, whole: float) -> Interval:
        """The same as a share of ``whole``."""
        return Interval(self.mean / whole, self.low / whole, self.high / whole)

    def within(self, least: float, most: float) -> Interval:
        """The same, its bounds cut to where the figure can lie."""
        low, high = np.clip([self.low, self.high], least, most).tolist()
        return Interval(self.mean, low, high)

    @property
    def told(self) -> bool:
        """Whether there is an interval: not where the rows are too few to say."""
        return self.low == self.low

    def __str__(self) -> str:
        if self.mean != self.mean:
            return "–"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.told else f"{self.mean:.3f} ({TOO_FEW})"


NOTHING = Interval(NAN, NAN, NAN)


def wilson_interval(correct: float, n: float, level: float = LEVEL, *, z: float | None = None) -> tuple[float, float]:
    """Wilson's score interval for a share of ``correct`` among ``n`` (Wilson, 1927): (0, 1) for n = 0.

    scipy's ``binomtest(...).proportion_ci`` is the same for whole numbers; these may be means over seeds. ``z``:
    another quantile than the normal distribution's.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2) if z is None else z
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    # The share lies in it, at 0 and at 1 too, where rounding may say otherwise in the last digit.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def interval_of(values: Scores, without: Scores, bearing: npt.NDArray[np.int64], level: float = LEVEL) -> Interval:
    """The mean of ``values`` float64 [k], each in [0, 1], and its interval.

    ``without`` [u, k]: the same without each of u units; ``bearing`` [k]: how many units each value rests on.

    The jackknife (Tukey, 1958; Efron and Stein, 1981) says how many rows each value is worth, as if it were a share
    (Korn and Graubard, 1998). Wilson's interval of such a share takes the quantile of Student's t, with degrees of
    freedom from the kurtosis of what the units add (Satterthwaite, 1946): where a few say it all, there are few. What
    no unit changes, like a perfect one, is worth the units that it rests on. The distances of the values to their
    ends are combined to that of the mean with the jackknife's correlations (Zou and Donner, 2008). They come out short
    above a mean close to 1, so the end of the mean's own interval is taken there if it is further.

    No interval, so nan, where more than a tenth of the values rest on fewer than LEAST units.
    """
    known = np.isfinite(values)
    if not known.any():
        return NOTHING
    mean = float(values[known].mean())
    if (bearing < LEAST).mean() > FEW:
        return Interval(mean, NAN, NAN)
    values, bearing, without = values[known], bearing[known], without[:, known]
    without = np.where(np.isfinite(without), without, values)
    added = without.mean(axis=0) - without
    low, high = _worth(values, added, bearing, level)
    spread = np.sqrt((added**2).sum(axis=0))
    together = np.where(np.outer(spread, spread) > 0, added.T @ added, 0) / np.maximum(np.outer(spread, spread), TINY)
    np.fill_diagonal(together, 1.0)
    below, above = (
        float(np.sqrt(max(gap @ together @ gap, 0.0))) / len(values) for gap in (values - low, high - values)
    )
    whole = _worth(np.array([mean]), added.mean(axis=1, keepdims=True), np.array([0]), level)[1][0]
    return Interval(mean, max(mean - below, 0.0), min(max(mean + above, whole), 1.0))


def _worth(values: Scores, added: Scores, bearing: npt.NDArray[np.int64], level: float) -> tuple[Scores, Scores]:
    """Wilson's interval of each of ``values`` [k], float64 [k] each, for the rows that it is worth.

    ``added`` [u, k] is what each unit adds. What none changes is worth ``bearing``; 0 makes it its own interval.
    """
    from scipy.stats import t

    units = len(added)
    squares = (added**2).sum(axis=0)
    moves = squares > TINY
    kurtosis = units * (added**4).sum(axis=0) / np.where(moves, squares, 1.0) ** 2
    freedom = np.clip(2 * units / np.maximum(kurtosis - 1, TINY), 2, max(units - 1, 2))
    z = np.where(moves, t.ppf(0.5 + level / 2, freedom), NormalDist().inv_cdf(0.5 + level / 2))
    variance = np.where(moves, squares, 1.0) * (units - 1) / units
    rows = np.where(moves, np.maximum(values * (1 - values), TINY) / variance, bearing)
    pairs = [
        wilson_interval(value * many, many, level, z=one) if many else (value, value)
        for value, many, one in zip(values.tolist(), rows.tolist(), z.tolist(), strict=True)
    ]
    low, high = np.array(pairs).T
    return np.minimum(low, values), np.maximum(high, values)


def leave_out(score: Callable[[Counts], Scores], codes: npt.NDArray[np.int64]) -> Scores:
    """What ``score`` gives without each of the units ``codes`` [n], numbered from 0: float64 [u, ...].

    Of more than PARTS units, as many parts of them are left out in place of each (Kott, 2001), always the same ones.
    """
    units = int(codes.max()) + 1
    if units > PARTS:
        codes, units = (np.random.default_rng(0).permutation(units) % PARTS)[codes], PARTS
    step = max(1, CELLS // len(codes))
    parts = (np.arange(start, min(start + step, units)) for start in range(0, units, step))
    return np.concatenate([score((codes != part[:, None]).astype(np.float32)) for part in parts])


def units_of(groups: npt.NDArray[Any] | None, size: int) -> npt.NDArray[np.int64]:
    """The unit of every row, int64 [n], from 0 on."""
    return np.arange(size) if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)


def resample(
    score: Callable[[Counts], Scores],
    size: int,
    *,
    groups: npt.NDArray[Any] | None = None,
    strata: Sequence[npt.NDArray[np.int64]] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """What ``score`` gives for each resample of ``size`` rows, float64 [resamples, ...]. The same seed draws the same.

    ``groups`` [size] are drawn whole; the rows of each of ``strata``, where there are some, are drawn by themselves.
    """
    if resamples < 1:
        raise LearningError(f"{resamples} resamples give no interval; 1000 is usual")
    rng = np.random.default_rng(seed)
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    step = max(1, CELLS // max(size, 1))

    def drawn(many: int) -> Counts:
        if not strata:
            return draw(size, many, rng, codes)
        counts = np.zeros((many, size), np.float32)
        for count, rows in product(counts, strata):
            count[rows] = draw(len(rows), 1, rng)[0]
        return counts

    return np.concatenate([score(drawn(min(step, resamples - start))) for start in range(0, resamples, step)])


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


def ratio(part: npt.NDArray[np.floating[Any]], whole: npt.NDArray[np.floating[Any]]) -> Scores:
    """In double precision, nan for a part of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part, np.float64) / whole
