"""Learning curves: how held-out figures grow with the labels learned from, and whether more labels are worth it.

Every fold is learned again from growing shares of its training texts: nested (a share holds all smaller ones),
stratified, with whole groups, each share twice the one before. All of them together cost about as much as the last
point, which is the evaluation itself. Two points are compared on the same held-out texts, so the step between them is
known better than either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import accuracy, macro_f1
from nextlabel.backend.numeric import plain

from .comparison import Difference, paired_bootstrap
from .crossvalidation import Fit, FoldDone, FoldReport, HeldOut, predict_held_out

PARTS = 16
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the training texts; the whole of them is the evaluation itself."""
LEAST = 16
"""Texts that a share must have, and two per label: below, a point says more about the draw than about the number."""

Named: TypeAlias = Callable[[int], tuple[Fit, str]]


@dataclass(frozen=True, slots=True)
class Grown:
    """Held-out predictions by models that learned from a share of their training texts.

    ``labels`` is how many texts that was, the mean over folds and seeds.
    """

    share: float
    labels: int
    found: HeldOut


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Figures after learning from so many labelled texts."""

    share: float
    labels: int
    accuracy: Interval
    macro_f1: Interval


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The points, the fewest labels first, and ``gain``: what the last step brought in macro-F1, paired."""

    points: tuple[CurvePoint, ...]
    gain: Difference

    @property
    def more_helps(self) -> bool:
        """Whether the last step brought so much that chance does not explain it: its whole interval is above 0.

        False says that it is not known, never that more labels are useless.
        """
        return self.gain.low > 0

    @property
    def verdict(self) -> str | None:
        """A sentence for whoever wonders whether to label on; None where the data don't support one."""
        if not self.more_helps:
            return None
        before, after = self.points[-2:]
        return (
            f"from {before.labels:,} to {after.labels:,} labels, macro-F1 rose by {self.gain.mean:.3f} "
            f"({self.gain.low:.3f} to {self.gain.high:.3f}): more labels are likely to help"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not defined is None."""
        return {
            "points": plain(self.points),
            "last_gain": Interval(self.gain.mean, self.gain.low, self.gain.high).to_json(),
            "more_labels_help": self.more_helps or None,
        }


def learn_on_shares(
    whole: HeldOut,
    fits: Named,
    *,
    train: Examples | None = None,
    random_folds: bool = False,
    keep: Path | None = None,
    report: FoldReport | None = None,
) -> list[Grown]:
    """Learn again from shares of what the models of ``whole`` learned from; the last of the result is ``whole``.

    ``fits`` gives, for the seed of a run, how a model is fitted and the name that tells everything about it (see
    ``cross_validate``, as for ``random_folds``, ``keep`` and ``report``). ``train`` is what a fixed test set was
    predicted from; without it, the other folds. Shares of too few texts are left out: where all are, only ``whole`` is
    left. Raises what the fit raises.
    """
    learned = {
        (at, int(fold)): nested_shares(
            whole.examples.take(np.flatnonzero(run.fold_of != fold)) if train is None else train,
            [run.seed, int(fold)],
            random_folds,
        )
        for at, run in enumerate(whole.runs)
        for fold in np.unique(run.fold_of)
    }
    shares = _usable(list(learned.values()))
    ready = [fits(run.seed) for run in whole.runs]
    total, done = len(shares) * len(learned), 0
    predicted = {share: [np.empty_like(run.predicted) for run in whole.runs] for share in shares}
    for (at, fold), texts in learned.items():
        run, (fit, name) = whole.runs[at], ready[at]
        held = np.flatnonzero(run.fold_of == fold)
        unseen = whole.examples.take(held).texts
        for share in shares:
            one = predict_held_out(texts[share], unseen, fit, keep, name)
            predicted[share][at][held], done = one.predicted, done + 1
            if report is not None:
                report(FoldDone(run.seed, fold, done, total, one.kept, one.seconds, "learning curve"))

    def grown(share: float, found: HeldOut) -> Grown:
        return Grown(share, round(float(np.mean([len(texts[share]) for texts in learned.values()]))), found)

    return [
        *(grown(share, whole.predicting(predicted[share])) for share in shares),
        grown(1.0, whole),
    ]


def nested_shares(train: Examples, seed: Sequence[int], random: bool = False) -> dict[float, Examples]:
    """``train`` in growing shares, the last of them whole: each within the next, stratified, groups and copies whole.

    ``random`` splits groups and copies.
    """
    groups = None if random else train.together()
    parts = min(PARTS, len(train) if groups is None else len(np.unique(groups)))
    rng = np.random.default_rng(seed)
    part_of = assign_folds(train.targets, parts, rng, groups)
    # The largest groups are dealt first, to the first parts: shuffled, so that no share has them all.
    part_of = rng.permutation(parts)[part_of]
    return {share: train.take(np.flatnonzero(part_of < max(1, round(share * parts)))) for share in SHARES}


def learning_curve(grown: Sequence[Grown], *, resamples: int = 1000, seed: int = 0) -> LearningCurve | None:
    """Figures and intervals of the points, and the last step; None where there is but one point."""
    if len(grown) < 2:
        return None
    points = tuple(
        CurvePoint(
            one.share,
            one.labels,
            *(one.found.interval(figure) for figure in (accuracy, macro_f1)),
        )
        for one in grown
    )
    before, after = (one.found for one in grown[-2:])
    gain = paired_bootstrap(
        before.predicted,
        after.predicted,
        after.examples.targets,
        groups=after.groups,
        resamples=resamples,
        seed=seed,
    )
    return LearningCurve(points, gain)


def _usable(learned: Sequence[dict[float, Examples]]) -> list[float]:
    """The shares below 1 that can teach in every fold, and are less than the next: few groups can't be halved often."""
    return [
        share
        for share, after in pairwise(SHARES)
        if all(_teaches(texts[share]) and len(texts[share]) < len(texts[after]) for texts in learned)
    ]


def _teaches(train: Examples) -> bool:
    return len(train) >= max(LEAST, 2 * len(train.labels)) and train.tells_apart
