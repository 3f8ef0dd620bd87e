"""Labels chosen by the loop against labels drawn at random, as far as the project's own answers can tell.

The audit slice is a random sample with answers. Cross-validated on itself, it gives the learning curve of random labels
up to four fifths of its size. The curve of the chosen labels is that of the same probe, fitted on the first so many of
them in the order in which they were answered, and tested on the same audit records. Nothing is extrapolated: the two
are compared over the numbers of labels that both have, at the highest accuracy that both reach there. A short audit
slice puts that early in the project.

Both curves are made monotone (isotonic regression: more labels don't hurt in the mean) before the labels to an accuracy
are read off them. Intervals are percentiles over resampled audit records, the same for both curves. They don't hold the
chance in the one order of labels that this project happened to have.

The fits read vectors of the recipe's own encoder. An encoder that was trained in the project has learned from the
chosen labels, so a probe on it has no random counterpart. Everything fitted here is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.data.examples import assign_folds
from nextlabel.backend.encoders.base import Encoder, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.intervals import RESAMPLES, Interval, draw, interval_of, leave_out, units_of
from nextlabel.backend.metrics import right
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.pool.pool import Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.selection.stopping import Round
from nextlabel.backend.store import Store

from .project_data import Gathered

Vectors = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Fit = Callable[[Vectors, Targets], Probe]

FOLDS = 5
REPEATS = 3
SMALLEST = 10  # labels of the first fit after the cold start
GROWTH = 1.5  # from one fit to the next
LEAST_AUDIT = 50
"""Audit answers below which random's curve is too short and too wide to compare with."""
MOST_BEFORE = 0.1
"""Of the labels to learn from: with more that were there before we came, these are no labels that a strategy chose."""
LEAST_CHOSEN = 20
"""Chosen labels below which there is nothing to compare."""
STEP = 25
"""Labels between the models whose predictions are compared."""
MODELS = 4
LEAST_STOP_SET = 100
"""Audit answers below which one changed prediction would weigh too much in the models' agreement."""
OPEN_SET = 2_000
LEAST_OPEN_SET = 50

Watch = Callable[[int, int], None]


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

    def scores(self) -> list[Interval]:
        """Accuracy at each size, with its interval."""
        records = self.right.shape[1]
        without = leave_out(lambda counts: _accuracies(self, counts.astype(np.float64)), units_of(None, records))
        return [
            interval_of(row.mean(keepdims=True), column[:, None], np.array([records]))
            for row, column in zip(self.right, without.T, strict=True)
        ]


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
        by_random=Interval.around(float(one[0]), ones),
        by_chosen=Interval.around(float(other[0]), others),
        labels=Interval.around(float(one[0] - other[0]), ones - others),
        at=at,
        gain=Interval.around(float(gain.mean()), (counts @ gain.T)[:, 0] / counts.sum(axis=1)),
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


def _about(one: Interval) -> str:
    return f"{one.mean:,.0f} [{one.low:,.0f} to {one.high:,.0f}]"


@dataclass(frozen=True, slots=True)
class Refitted:
    """``saved``: chosen against random labels. ``rounds``: what stopping criteria look at, in order."""

    saved: Saved
    rounds: tuple[Round, ...]


def why_not(found: Gathered) -> str:
    """Why no comparison with random can be made of these answers; empty if it can."""
    if question_of(found.labeling).reads_tokens:
        return "not made for spans"
    if len(found.audited) < LEAST_AUDIT:
        return (
            f"random labels are known from the audit slice alone, and {len(found.audited):,} of it are answered: "
            f"it takes {LEAST_AUDIT}"
        )
    if len(found.training) < LEAST_CHOSEN:
        return f"{len(found.training):,} labels to learn from are too few: it takes {LEAST_CHOSEN}"
    if len(found.before) > MOST_BEFORE * len(found.training):
        return (
            f"{len(found.before):,} of {len(found.training):,} labels to learn from were there before the first start: "
            "nobody chose them, and the audit slice was drawn from the rest"
        )
    answers = found.pool.targets(found.audited)
    if (answers == answers[0]).all():
        return "all answers to the audit slice are the same, so every accuracy is that of saying so"
    return ""


def refit(
    found: Gathered, store: Store, encoder: Encoder, cache: EmbeddingCache, watch: Watch = lambda done, of: None
) -> Refitted:
    """Make the comparison; only where :func:`why_not` has no objection. ``watch`` is told the fits done and in all.

    Raises LearningError if texts can't be encoded. Texts whose vectors are not cached yet are encoded and cached.
    """
    anchors, classes = label_anchors(found.labeling, encoder), len(found.labeling.labels)
    done = 0

    def fit(vectors: Vectors, targets: Targets) -> Probe:
        return Probe.fit(vectors, targets, classes, anchors=anchors)

    def count() -> None:
        nonlocal done
        done += 1
        watch(done, total)

    def read(positions: Positions) -> tuple[Vectors, Targets]:
        """Vectors and answers of those records that can be read."""
        texts = [found.labeling.content(item.record) for item in store.at(positions.tolist())]
        rows = cache.ensure(texts, encoder)
        return cache.take(rows[rows >= 0]), found.pool.targets(positions[rows >= 0])

    (tested, answers), (learned, targets) = read(found.audited), read(found.training)
    most, both = len(targets), min(len(targets), random_size(len(answers)))
    of_random, of_chosen = sizes(random_size(len(answers)), both), sizes(most, both)
    steps = [most - STEP * back for back in range(MODELS - 1, -1, -1) if most > STEP * back]
    total = len(of_random) * FOLDS * REPEATS + len({*of_chosen, *steps})
    random = random_curve(tested, answers, of_random, fit, count)
    aside = _open_set(found, store, cache)
    rows, rounds = [], []
    for size in sorted({*of_chosen, *steps}):
        probe = fit(learned[:size], targets[:size])
        hits = right(probe.predict_proba(tested), answers)
        if size in of_chosen:
            rows.append(hits)
        if size:
            rounds.append(_round(size, probe, tested, hits, aside) if size in steps else _audited(size, hits))
        count()
    chosen = Curve(np.array(of_chosen, np.int64), np.array(rows, np.float64))
    return Refitted(compare(random, chosen), tuple(rounds))


def _audited(size: int, hits: npt.NDArray[np.bool_]) -> Round:
    return Round(size, audit=float(hits.mean()), audit_size=len(hits))


def _round(size: int, probe: Probe, tested: Vectors, hits: npt.NDArray[np.bool_], aside: Vectors) -> Round:
    """With predictions for the audit slice, and how sure the probe is of open records.

    Records that are still open can't show whether predictions are stable: what a model doubted was chosen since.
    """
    stable = probe.predict_proba(tested) if len(tested) >= LEAST_STOP_SET else None
    said = None if stable is None else probe.activation.decide(stable)
    sure = probe.predict_proba(aside)
    confidence = probe.activation.sureness(sure).mean() if len(sure) else None
    return replace(_audited(size, hits), predictions=said, confidence=None if confidence is None else float(confidence))


def _open_set(found: Gathered, store: Store, cache: EmbeddingCache) -> Vectors:
    """Vectors of random records without an answer, as far as they are cached; none if there are too few."""
    rng, answered = np.random.default_rng(0), {*found.training.tolist(), *found.audited.tolist()}
    drawn = rng.permutation(store.size())[: 2 * OPEN_SET].tolist()
    items = [one for one in store.at(drawn) if one.position not in answered and not one.gone and not one.duplicate_of]
    rows = cache.lookup([found.labeling.content(one.record) for one in items])
    rows = rows[rows >= 0][:OPEN_SET]
    return cache.take(rows if len(rows) >= LEAST_OPEN_SET else rows[:0])
