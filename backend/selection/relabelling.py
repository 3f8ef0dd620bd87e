"""Another label for a record that has one, or a first label for another: which of the next answers should be which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.activation import SIGMOID, SOFTMAX
from nextlabel.backend.annotators.consensus import TINY, at_temperature, best_temperature, crowdlab, majority_labels
from nextlabel.backend.annotators.opinions import Doubles, Opinions

from .base import Floats, Indices, Pool, ScoringStrategy, check_request, relabels, top_k
from .registry import register

_FORGETTING = 0.8


@register("activelab")
@dataclass(frozen=True, slots=True)
class ActiveLab(ScoringStrategy):
    """How unsure the label of a record still is, by all answers and the model together.

    Goh and Mueller, ActiveLab: Active Learning with Re-Labeling by Multiple Annotators, 2023 (arXiv 2301.11856). The
    score is one minus cleanlab's. It weighs second answers: records with ``opinions`` may be in the pool, with
    predictions that were held out from them. Without opinions it orders a pool as least confidence does.

    Several labels: each label is a yes or no of its own, and the qualities of all are put together by the moving
    average of Thyagarajan, Snorrason, Northcutt and Mueller, Identifying Incorrect Annotations in Multi-Label
    Classification Data, 2022 (arXiv 2211.13895), in which the worst counts most.
    """

    name: ClassVar[str] = "activelab"
    relabels: ClassVar[bool] = True

    def score(self, pool: Pool) -> Floats:
        """float32 [n] in [0, 1]; with one class there is nothing to ask, and all are 0."""
        p = np.clip(np.nan_to_num(np.asarray(pool.probabilities, dtype=np.float64)), 0, 1)
        opinions = pool.opinions if pool.opinions is not None and len(pool.opinions) else None
        return np.asarray(1 - QUALITY[pool.activation](p, opinions), dtype=np.float32)


def _record_quality(p: Doubles, opinions: Opinions | None) -> Doubles:
    """float64 [n]: that of single labels; 1 with one class."""
    if p.shape[1] < 2:
        return np.ones(len(p))
    p = np.maximum(p, TINY)
    return _quality(p / p.sum(axis=1, keepdims=True), opinions)


def _labels_quality(p: Doubles, opinions: Opinions | None) -> Doubles:
    """float64 [n]: that of several labels, each a yes or no of its own."""
    return _worst_first(np.stack([_label_quality(p[:, at], opinions, at) for at in range(p.shape[1])], axis=1))


def _quality(p: Doubles, opinions: Opinions | None) -> Doubles:
    """float64 [n]: the mean of how likely the label is right and of knowing nothing, by the weights of the voices."""
    classes = p.shape[1]
    if opinions is None:
        return np.asarray((p.max(axis=1) + 1 / classes) / 2, dtype=np.float64)
    labelled = np.flatnonzero(opinions.per_record)
    said = opinions.take(labelled)
    if said.per_record.max() < 2:  # nothing tells how good anybody is: the model's own quality, and equal voices
        sure: Doubles = p[labelled, majority_labels(said, p[labelled])]
        weights: Doubles = np.ones(len(said.annotators))
        model = 1.0
    else:
        p = at_temperature(p, best_temperature(said, p[labelled]))
        consensus = crowdlab(said, p[labelled])
        sure, weights, model = consensus.quality, consensus.weights, consensus.model_weight
    another = float(weights[np.unique(said.annotator)].mean())  # what one more answer would weigh
    quality = _with_doubt(p.max(axis=1), model, another, classes)
    heard: Doubles = np.bincount(said.record, weights[said.annotator]).astype(np.float64) + model
    quality[labelled] = _with_doubt(sure, heard, another, classes)
    return quality


def _with_doubt(quality: Doubles, weight: float | Doubles, another: float, classes: int) -> Doubles:
    return np.asarray((quality * weight + another / classes) / (weight + another), dtype=np.float64)


def _label_quality(p: Doubles, opinions: Opinions | None, label: int) -> Doubles:
    """float64 [n]: that of one label, a yes or no with probability ``p`` [n]."""
    both = np.maximum(np.stack([1 - p, p], axis=1), TINY)
    about = None if opinions is None else opinions.about(label)
    return _quality(both / both.sum(axis=1, keepdims=True), about)


def _worst_first(quality: Doubles) -> Doubles:
    """float64 [n]: an exponential moving average over [n, c], from the best to the worst."""
    ordered = np.sort(quality, axis=1)
    average = ordered[:, -1]
    for at in range(ordered.shape[1] - 2, -1, -1):
        average = _FORGETTING * ordered[:, at] + (1 - _FORGETTING) * average
    return average


@register("random-relabel")
@dataclass(frozen=True, slots=True)
class RandomRelabel(ScoringStrategy):
    """Any record at random, answered or not: what a strategy that asks again has to be held against."""

    name: ClassVar[str] = "random-relabel"
    relabels: ClassVar[bool] = True

    def score(self, pool: Pool) -> Floats:
        """float32 [n], all alike: ties are drawn."""
        return np.zeros(len(pool), np.float32)


QUALITY = {SOFTMAX: _record_quality, SIGMOID: _labels_quality}


@dataclass(frozen=True, slots=True)
class Decision:
    """What to ask about next.

    ``chosen`` int64 [at most k]: indices into the pool, the most valuable first. ``again`` int64: those of them that
    have answers already and shall be asked about again now; ``opinions`` int64, of the same length: how many answers
    each of these shall have in the end.
    """

    chosen: Indices
    again: Indices
    opinions: Indices


@dataclass(frozen=True, slots=True)
class Relabelling:
    """Lets a score that weighs second answers, as ActiveLab does, choose between new records and answered ones.

    ``most`` answers a record gets at most, and never more than there are ``people``, a number or one for each record
    of the pool, int64 [n]: nobody is asked twice. Raises ValueError for a ``most`` below 2 or a strategy that can't
    tell what a second answer is worth.
    """

    strategy: ScoringStrategy
    most: int

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ValueError(
                f"with at most {self.most} opinions on a record nothing can be asked again; allow 2 or more"
            )
        if not relabels(self.strategy):
            raise ValueError(f"{self.strategy.name} does not weigh second answers; activelab does")

    def decide(
        self,
        pool: Pool,
        k: int,
        rng: np.random.Generator,
        *,
        people: int | Indices,
        outstanding: Indices | None = None,
    ) -> Decision:
        """Choose the next ``k`` records, or as many as may still be asked about.

        ``pool`` holds new records and answered ones; the predictions of the latter are held out. ``outstanding``:
        indices of records that were asked about again and wait for the answer. They are not chosen, and count against
        what is asked again now: a queue is made anew after every label, but what a platform was told stays told, so
        that without it every label would add as many second opinions as there are places. Raises EmptyPool for a
        pool without records.
        """
        waiting = np.empty(0, np.int64) if outstanding is None else outstanding
        check_request(pool, 0)
        counts: Indices = np.zeros(len(pool), np.int64) if pool.opinions is None else pool.opinions.per_record
        allowed = counts < np.minimum(self.most, people)
        allowed[waiting] = False
        # Records that nobody is asked about any more still tell how good annotators are, so they are scored too.
        scores = np.where(allowed, self.strategy.score(pool), -np.inf).astype(np.float32)
        chosen = top_k(scores, min(k, int(allowed.sum())), rng)
        again = chosen[counts[chosen] > 0][: max(0, k - len(waiting))]
        return Decision(chosen, again, counts[again] + 1)
