"""Whether one model is better than another on the same rows, and so which of the newly trained ones goes live.

Among the candidates a later one has to get more held-out answers right than the best before it, by more than one
standard error of the difference (as Breiman et al., 1984, choose among trees). Where labels are few, contrast mostly
makes better models than fine-tuning does, and a dozen answers, some of them wrong, often say otherwise: on 85 to 425
texts of politeness and edos the one that got more right was the worse one in 14 to 35 of 100 draws of the held-out
texts.

Two questions, both answered on records that the new model was not trained on. On the held-out answers, which also
chose among the candidates: does the model in use, fitted without them, get more right by more than one standard error?
What learned from more answers is usually the better one, and a new model with one held-out answer less is mostly
unlucky: on the same texts, letting it through made better use of nine trainings than asking for as many. On the audit
slice, which chose nothing: is it shown to be worse? This is a paired test, McNemar's (1947), one-sided at 10%: a level
that turns away a model that is truly worse sooner than the usual 5%, since keeping the old one costs little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Flags, Targets
from nextlabel.backend.intervals import LEVEL, RESAMPLES, percentiles, resample
from nextlabel.backend.metrics import Figure, Predicted, macro_f1, mean_over, right
from nextlabel.connectors.errors import LearningError

GATE_LEVEL = 0.1


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
    figure: Figure = macro_f1,
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
    mean = float(np.mean([figure(run, targets) for run in after]) - np.mean([figure(run, targets) for run in before]))
    gains = resample(
        lambda counts: mean_over(figure, after, targets, counts) - mean_over(figure, before, targets, counts),
        len(targets),
        groups=groups,
        resamples=resamples,
        seed=seed,
    )
    low, high = percentiles(gains, level)
    known = gains[np.isfinite(gains)]
    return Difference(mean, low, high, float((known < 0).mean()) if len(known) else float("nan"))


@dataclass(frozen=True, slots=True)
class Pair:
    """Which of the same answers both models get right, bool [n]: the model in use, and the new one."""

    before: Flags
    after: Flags


@dataclass(frozen=True, slots=True)
class Verdict:
    """``goes_live``, and why, as a sentence. ``figures`` are kept with the model."""

    goes_live: bool
    reason: str
    figures: dict[str, float]


def best_candidate(hits: Mapping[int, Flags]) -> int:
    """The number of the best candidate: of ``hits``, number -> which of the same answers it gets right, bool [n].

    In doubt the one with the lowest number. Raises ValueError without candidates.
    """
    if not hits:
        raise ValueError("there is no candidate to choose")
    first, *others = sorted(hits)
    best = first
    for number in others:
        if _beats(hits[number], hits[best]):
            best = number
    return best


def judge(held_out: Pair, audit: Pair) -> Verdict:
    """Decide on a new model. Either pair may be empty; with nothing to measure on, the old model stays."""
    figures: dict[str, float] = {}
    sentences = []
    fits = True
    if n := len(held_out.after):
        old, new = held_out.before, held_out.after
        figures |= {"held_out_n": n, "held_out_accuracy": float(new.mean()), "held_out_before": float(old.mean())}
        fits = not _beats(old, new)
        chance = " (within one standard error)" if fits and new.sum() < old.sum() else ""
        sentences.append(f"{new.sum()} of {n} held-out answers right, {old.sum()} before{chance}")
    if n := len(audit.after):
        old, new = audit.before, audit.after
        test = mcnemar(old, new)
        figures |= {"audit_n": n, "audit_accuracy": float(new.mean()), "audit_before": float(old.mean())}
        figures["audit_p_worse"] = test.p_worse
        fits = fits and test.p_worse > GATE_LEVEL
        sentences.append(
            f"{new.sum()} of {n} audit answers right, {old.sum()} before (McNemar, one-sided: p {test.p_worse:.2g})"
        )
    if not sentences:
        return Verdict(False, "there is no held-out answer and no audit answer to measure it on", figures)
    return Verdict(fits, "; ".join(sentences), figures)


def _beats(one: Flags, other: Flags) -> bool:
    """Whether ``one`` gets more of the same answers right than ``other``, by more than one standard error.

    That is the root of the number of answers that only one of them gets right, if either is as likely to.
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return gained - lost > math.sqrt(gained + lost)
