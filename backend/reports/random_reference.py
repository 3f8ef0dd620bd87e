"""Labels chosen by the loop against labels drawn at random, as far as the project's own answers can tell.

The audit slice is a random sample with answers. Cross-validated on itself, it gives the learning curve of random labels
up to four fifths of its size. The curve of the chosen labels is that of the same probe, fitted on the first so many of
them in the order in which they were answered, and tested on the same audit records. Nothing is extrapolated: the two
are compared over the numbers of labels that both have, at the highest accuracy that both reach there. A short audit
slice puts that early in the project.

Both curves are made monotone (isotonic regression: more labels don't hurt in the mean) before the labels to an accuracy
are read off them. Intervals are percentiles over resampled audit records, the same for both curves. They don't hold the
chance in the one order of labels that this project happened to have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.data.examples import assign_folds
from nextlabel.backend.evaluation.intervals import RESAMPLES, Interval, draw, percentiles
from nextlabel.backend.metrics import right
from nextlabel.backend.models.probe import Probe

Values = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Fit = Callable[[Vectors, Targets], Probe]

FOLDS = 5
REPEATS = 3
SMALLEST = 10  # labels of the first fit after the cold start
GROWTH = 1.5  # from one fit to the next


@dataclass(frozen=True, slots=True)
class Curve:
    """``labels`` int64 [s], ascending from 0; ``right`` float64 [s, n]: how often each was right."""

    labels: npt.NDArray[np.int64]
    right: Values

    def to_json(self) -> list[dict[str, Any]]:
        """A point a size."""
        return [
            {"labels": int(labels), "accuracy": score.to_json()}
            for labels, score in zip(self.labels, self.scores(), strict=True)
        ]

    def scores(self, seed: int = 0) -> list[Interval]:
        """Accuracy at each size, with the interval over resampled records."""
        counts = draw(self.right.shape[1], RESAMPLES, np.random.default_rng(seed))
        means, drawn = self.right.mean(axis=1), _accuracies(self, counts.astype(np.float64))
        return [_around(mean, column) for mean, column in zip(means, drawn.T, strict=True)]


@dataclass(frozen=True, slots=True)
class Saved:
    """Labels to ``accuracy``, the highest that both reach within ``at`` labels, the most that both curves have.

    ``by_random`` and ``by_chosen`` labels; ``labels`` is the first minus the second, what was saved until then.
    ``gain``: accuracy of chosen minus random labels, ``at`` of each.
    """

    accuracy: float
    by_random: Interval
    by_chosen: Interval
    labels: Interval
    at: int
    gain: Interval
    random: Curve
    chosen: Curve

    @property
    def shown(self) -> bool:
        """Whether chosen and random labels are shown to differ."""
        return self.labels.low > 0 or self.labels.high < 0

    @property
    def verdict(self) -> str:
        """The finding in a sentence, not bolder than its interval."""
        both = f"to {self.accuracy:.1%} accuracy, {_about(self.by_random)} random labels or {_about(self.by_chosen)} "
        span = f"(95%: {self.labels.low:+,.0f} to {self.labels.high:+,.0f})"
        if self.labels.low > 0:
            return f"{both}chosen ones: about {self.labels.mean:,.0f} saved {span}"
        if self.labels.high < 0:
            return f"{both}chosen ones: about {-self.labels.mean:,.0f} more than random {span}"
        return f"{both}chosen ones: not shown to differ from random {span}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "verdict": self.verdict,
            "shown": self.shown,
            "accuracy": self.accuracy,
            "labels_saved": self.labels.to_json(),
            "labels_by_random": self.by_random.to_json(),
            "labels_by_chosen": self.by_chosen.to_json(),
            "at_labels": self.at,
            "accuracy_gain": self.gain.to_json(),
            "random_curve": self.random.to_json(),
            "chosen_curve": self.chosen.to_json(),
        }


def sizes(most: int, *more: int) -> list[int]:
    """Numbers of labels to fit on: 0, SMALLEST and so on by GROWTH, and ``most``; ``more`` too if not above it."""
    found, size = {0, most, *(one for one in more if 0 <= one <= most)}, float(SMALLEST)
    while size < most:
        found.add(int(size))
        size *= GROWTH
    return sorted(found)


def random_size(audited: int) -> int:
    """Labels up to which ``audited`` records give random's curve: those outside the largest fold."""
    return audited - -(-audited // FOLDS)


def random_curve(
    vectors: Vectors, targets: Targets, at: Sequence[int], fit: Fit, on_fit: Callable[[], None], seed: int = 0
) -> Curve:
    """Random labels' curve at ``at`` labels, by cross-validation on the audit slice: float32 [n, d] and its answers.

    Every record is tested in each of REPEATS divisions into folds, by probes fitted on records of the other folds in
    random order.
    """
    rng = np.random.default_rng(seed)
    hits = np.zeros((len(at), len(targets)))
    for _ in range(REPEATS):
        fold_of = assign_folds(targets, FOLDS, rng)
        for fold in range(FOLDS):
            tested, order = np.flatnonzero(fold_of == fold), rng.permutation(np.flatnonzero(fold_of != fold))
            for row, size in enumerate(at):
                probe = fit(vectors[order[:size]], targets[order[:size]])
                hits[row, tested] += right(probe.predict_proba(vectors[tested]), targets[tested])
                on_fit()
    return Curve(np.array(at, np.int64), hits / REPEATS)


def compare(random: Curve, chosen: Curve, seed: int = 0) -> Saved:
    """Hold the curves against each other; both are about the same records, in the same order.

    Both must have the point of ``min(random's most labels, chosen's most labels)``.
    """
    counts = draw(random.right.shape[1], RESAMPLES, np.random.default_rng(seed)).astype(np.float64)
    at = int(min(random.labels[-1], chosen.labels[-1]))
    whole = np.ones((1, random.right.shape[1]))
    within = [Curve(one.labels[one.labels <= at], one.right[one.labels <= at]) for one in (random, chosen)]
    accuracy, one, other = _to_the_same(within, whole)
    _, ones, others = _to_the_same(within, counts)
    gain = (_at(chosen, at) - _at(random, at))[None]
    return Saved(
        accuracy=float(accuracy[0]),
        by_random=_around(one[0], ones),
        by_chosen=_around(other[0], others),
        labels=_around(one[0] - other[0], ones - others),
        at=at,
        gain=_around(gain.mean(), (counts @ gain.T)[:, 0] / counts.sum(axis=1)),
        random=random,
        chosen=chosen,
    )


def _to_the_same(curves: Sequence[Curve], counts: Values) -> tuple[Values, Values, Values]:
    """The highest accuracy that both of two reach, and the labels that each takes to it: float64 [k] each."""
    scores = [monotone(_accuracies(curve, counts)) for curve in curves]
    goal = np.minimum(scores[0][:, -1], scores[1][:, -1])
    one, other = (_labels_to(curve.labels, rows, goal) for curve, rows in zip(curves, scores, strict=True))
    return goal, one, other


def _accuracies(curve: Curve, counts: Values) -> Values:
    """float64 [k, s]: accuracy at each size, with each record as often as ``counts`` float64 [k, n] say."""
    found: Values = (counts @ curve.right.T) / counts.sum(axis=1, keepdims=True)
    return found


def monotone(scores: Values) -> Values:
    """Isotonic regression of each row of float64 [k, s]: the nearest row, by least squares, that never falls.

    By its max-min formula (Barlow et al., Statistical Inference under Order Restrictions, 1972): for the few sizes of a
    curve and the many resamples, that is quicker than pooling row by row.
    """
    size = scores.shape[1]
    sums = np.concatenate([np.zeros((len(scores), 1)), np.cumsum(scores, axis=1)], axis=1)
    first, last = np.triu_indices(size)
    means = np.full((len(scores), size, size), np.inf)
    means[:, first, last] = (sums[:, last + 1] - sums[:, first]) / (last + 1 - first)
    least = np.minimum.accumulate(means[:, :, ::-1], axis=2)[:, :, ::-1]  # over all ends from here on
    least[:, ~np.tri(size, dtype=np.bool_).T] = -np.inf
    found: Values = least.max(axis=1)
    return found


def _labels_to(labels: npt.NDArray[np.int64], scores: Values, goal: Values) -> Values:
    """Where ascending rows of ``scores`` first come up to ``goal``, on the line between two sizes: float64 [k]."""
    first = np.argmax(scores >= goal[:, None] - 1e-9, axis=1)
    before, rows = np.maximum(first - 1, 0), np.arange(len(scores))
    rise = scores[rows, first] - scores[rows, before]
    part = np.clip((goal - scores[rows, before]) / np.where(rise > 0, rise, 1.0), 0.0, 1.0)
    found: Values = np.where(first == 0, labels[0], labels[before] + part * (labels[first] - labels[before]))
    return found


def _at(curve: Curve, labels: int) -> Values:
    found: Values = curve.right[int(np.flatnonzero(curve.labels == labels)[0])]
    return found


def _around(mean: float, drawn: Values) -> Interval:
    low, high = percentiles(np.asarray(drawn, np.float64))
    return Interval(float(mean), min(low, float(mean)), max(high, float(mean)))


def _about(one: Interval) -> str:
    return f"{one.mean:,.0f} [{one.low:,.0f} to {one.high:,.0f}]"
