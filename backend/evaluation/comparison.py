"""Whether one model is better than another on the same rows: paired tests, on which a promotion rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Flags, Targets
from nextlabel.backend.metrics import Predicted, right
from nextlabel.connectors.errors import LearningError

from .intervals import LEVEL, RESAMPLES, percentiles, resampled_scores
from .resampled import Resampled, macro_f1


@dataclass(frozen=True, slots=True)
class McNemar:
    """Rows that only one of two models gets right, and how likely so uneven a count is between equals.

    ``p_worse`` is small when the new model is worse, ``p_better`` when it is better, ``p_differs`` in either case.
    """

    only_old: int
    only_new: int
    p_worse: float
    p_better: float
    p_differs: float


def mcnemar(old: Flags, new: Flags) -> McNemar:
    """McNemar's exact test (1947) on which rows two models get right, bool [n] each: no least number of rows.

    Between equals, each row that only one gets right is as likely the one's as the other's: a fair coin.
    """
    if old.shape != new.shape or old.ndim != 1:
        raise LearningError(f"{list(old.shape)} and {list(new.shape)} rows can't be paired")
    from scipy.stats import binomtest

    only_old, only_new = int((old & ~new).sum()), int((new & ~old).sum())
    tosses = only_old + only_new
    if tosses == 0:
        return McNemar(0, 0, 1.0, 1.0, 1.0)
    worse, better, differs = (
        float(binomtest(only_old, tosses, 0.5, alternative=side).pvalue) for side in ("greater", "less", "two-sided")
    )
    return McNemar(only_old, only_new, worse, better, differs)


def mcnemar_of(old: Predicted, new: Predicted, targets: Targets) -> McNemar:
    """The same, from probabilities float32 [n, c] and the answers."""
    return mcnemar(right(old, targets), right(new, targets))


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus old: the difference of a figure, its interval, and the share of resamples where it is below 0."""

    mean: float
    low: float
    high: float
    share_worse: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]" if self.mean == self.mean else "–"


def paired_bootstrap(
    old: Predicted | Sequence[Predicted],
    new: Predicted | Sequence[Predicted],
    targets: Targets,
    *,
    figure: Resampled = macro_f1,
    groups: npt.NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """The difference of a figure on the same rows, both models seeing the same resamples (whole ``groups`` [n]).

    ``old`` and ``new`` are probabilities float32 [n, c], or several such from several seeds. Raises LearningError if
    they are of other rows than ``targets``.
    """
    before, after = ([side] if isinstance(side, np.ndarray) else list(side) for side in (old, new))
    if any(len(run) != len(targets) for run in (*before, *after)):
        raise LearningError(f"predictions to be paired must be of the same {len(targets)} rows")
    if not len(targets):
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"))
    whole = np.ones((1, len(targets)), np.float32)
    mean = float(
        np.mean([figure(run, targets, whole)[0] for run in after])
        - np.mean([figure(run, targets, whole)[0] for run in before])
    )
    gains = resampled_scores(figure, after, targets, groups=groups, resamples=resamples, seed=seed) - resampled_scores(
        figure, before, targets, groups=groups, resamples=resamples, seed=seed
    )
    low, high = percentiles(gains, level)
    known = gains[np.isfinite(gains)]
    return Difference(mean, low, high, float((known < 0).mean()) if len(known) else float("nan"))
