"""One strategy, one seed: a project as it would have gone, with the loop's own learner.

All that chance decides beside the strategy (which records are tested on, who answers what and where they err, which
labels there are to start with) depends on the seed alone. So strategies are compared in pairs, under equal conditions.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Targets
from nextlabel.backend.data.examples import assign_folds
from nextlabel.backend.metrics import FIGURES
from nextlabel.backend.models.probe import Probe, score_pool
from nextlabel.backend.selection import Pool, get_strategy
from nextlabel.connectors.errors import ConfigError, SelectionError

from .data import NO_ANSWER, Material

Rows = npt.NDArray[np.int64]
MetricName: TypeAlias = Literal["accuracy", "macro_f1"]
METRICS: dict[MetricName, str] = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
FULL = "(all labels)"
"""In place of a strategy: no choice at all, every record of the pool is labelled."""
_MOST_FOLDS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that shapes a curve beside the records, the strategy and the seed.

    ``budget`` labels in all, of which ``start`` are drawn at random first (0: the cold start, from the labels' words
    alone) and the rest chosen ``batch`` at a time. ``noise`` is the share of answers that are flipped, ``test_share``
    the share of records held out where the records don't say themselves which are. Raises ConfigError.
    """

    budget: int = 500
    batch: int = 20
    start: int = 0
    noise: float = 0.0
    metric: MetricName = "macro_f1"
    test_share: float = 0.25

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}; at least 1 label is needed between two fits")
        if self.start < 0:
            raise ConfigError(f"start is {self.start}; it can't be negative, 0 is the cold start")
        if self.budget <= self.start:
            raise ConfigError(
                f"budget is {self.budget} labels, of which {self.start} are drawn at random to start with: nothing is "
                "left to choose; raise the budget"
            )
        if not 0 <= self.noise < 1:
            raise ConfigError(f"noise is {self.noise}; it is the share of answers flipped, from 0 to below 1, like 0.2")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test share is {self.test_share}; it must lie between 0 and 1, 0.25 is usual")
        if self.metric not in get_args(MetricName):
            raise ConfigError(f"metric {self.metric!r} is unknown; choose one of {', '.join(METRICS)}")

    def points(self) -> list[int]:
        """Numbers of labels after which the model is fitted and measured, the first before anything is chosen."""
        return [*range(self.start, self.budget, self.batch), self.budget]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Target:
    """A score to reach: ``value`` itself, or that share of what all the pool's labels give (``of_full``)."""

    value: float = 0.95
    of_full: bool = True

    @classmethod
    def parse(cls, given: str) -> Target:
        """``0.9`` is a score, ``95%`` a share of the full-data score. Raises ConfigError for anything else."""
        text = given.strip()
        of_full = text.endswith("%")
        try:
            value = float(text.rstrip("%").strip()) / (100 if of_full else 1)
        except ValueError:
            value = float("nan")
        if not 0 < value <= 1:
            raise ConfigError(
                f"target {given!r} can't be reached or read: write a score like 0.9, or 95% for that share of what "
                "all labels give"
            )
        return cls(value, of_full)

    def of(self, full: Sequence[float]) -> list[float]:
        """The target of every seed, given its full-data score."""
        return [self.value * score if self.of_full else self.value for score in full]

    def __str__(self) -> str:
        return f"{self.value:.4g}" if not self.of_full else f"{100 * self.value:.4g}% of the full-data score"


class Stopped(Exception):
    """The replay was told to end before its end."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The score on the test records after each number of ``labels``, and the CPU seconds that it took."""

    strategy: str
    seed: int
    labels: tuple[int, ...]
    scores: tuple[float, ...]
    seconds: float

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Curve:
        """The opposite. Raises ValueError for anything else."""
        try:
            found = json.loads(text)
            labels, scores = tuple(map(int, found["labels"])), tuple(map(float, found["scores"]))
            if not labels or len(labels) != len(scores):
                raise ValueError(f"{len(labels)} numbers of labels, {len(scores)} scores")
            return cls(str(found["strategy"]), int(found["seed"]), labels, scores, float(found["seconds"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a curve: {error}") from error


@dataclass(frozen=True, slots=True)
class Deal:
    """What a seed decides: rows to choose from and to test on, int64, the first labels, and everybody's answers.

    ``given``: int64 [n], or bool [n, c]; the answer that a record gets when it is chosen, whoever chose it.
    """

    pool: Rows
    test: Rows
    start: Rows
    given: Targets


def deal(material: Material, plan: Plan, seed: int) -> Deal:
    """Decide by ``seed``. Raises ConfigError if the pool is smaller than the budget."""
    split, answering, starting = (np.random.default_rng([seed, part]) for part in range(3))
    tested = material.tested if material.tested is not None else _held_out(material, plan, split)
    pool, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    if len(pool) < plan.budget:
        raise ConfigError(
            f"the budget is {plan.budget:,} labels, and there are {len(pool):,} records to choose from (the other "
            f"{len(test):,} are tested on); lower the budget"
        )
    return Deal(
        pool,
        test,
        starting.permutation(pool)[: plan.start],
        GIVEN[material.activation](material, plan.noise, answering),
    )


def replay(
    material: Material, plan: Plan, strategy: str, seed: int, stopped: Callable[[], bool] = lambda: False
) -> Curve:
    """Label ``plan.budget`` records, chosen by ``strategy``; FULL labels the whole pool and is measured once.

    Raises ConfigError for an unknown strategy, SelectionError for one that misbehaves, Stopped when ``stopped`` says
    so between two rounds.
    """
    began = time.process_time()
    dealt, measure = deal(material, plan, seed), FIGURES[plan.metric]

    def fit(rows: Rows, warm: Probe | None = None) -> Probe:
        return Probe.fit(
            material.vectors[rows], dealt.given[rows], material.classes, anchors=material.anchors, warm=warm
        )

    def score(probe: Probe) -> float:
        return measure(score_pool(probe, material.vectors, dealt.test), material.truth[dealt.test])

    if strategy == FULL:
        labels, scores = [len(dealt.pool)], [score(fit(dealt.pool))]
        return Curve(strategy, seed, tuple(labels), tuple(scores), time.process_time() - began)
    chooser, rng = get_strategy(strategy), np.random.default_rng([seed, zlib.crc32(strategy.encode())])
    chosen, left = dealt.start, np.setdiff1d(dealt.pool, dealt.start)
    probe: Probe | None = None
    labels, scores = plan.points(), []
    for now, following in zip(labels, [*labels[1:], None], strict=True):
        if stopped():
            raise Stopped
        probe = fit(chosen, probe)
        scores.append(score(probe))
        if following is not None:
            pool = Pool(
                probabilities=score_pool(probe, material.vectors, left),
                vectors=_Mapped(material.vectors, left),
                labelled_vectors=np.asarray(material.vectors[chosen], np.float32),
                labelled_targets=dealt.given[chosen],
                activation=material.activation,
                labelled_probabilities=score_pool(probe, material.vectors, chosen),
            )
            picks = _checked(chooser.query(pool, following - now, rng), following - now, len(left), strategy)
            chosen, left = np.concatenate([chosen, left[picks]]), np.delete(left, picks)
    return Curve(strategy, seed, tuple(labels), tuple(scores), time.process_time() - began)


@dataclass(frozen=True, slots=True)
class _Mapped:
    """Vectors of the candidates, read where a strategy asks for them."""

    matrix: npt.NDArray[Any]
    rows: Rows

    def take(self, indices: Rows) -> npt.NDArray[Any]:
        return self.matrix[self.rows[indices]]


def _held_out(material: Material, plan: Plan, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """About ``test_share`` of the records, each class and whole groups as evenly as can be: some folds of many."""
    folds = min(_MOST_FOLDS, len(material))
    fold_of = assign_folds(material.truth, folds, rng, material.groups)
    sizes = np.bincount(fold_of, minlength=folds) / len(material)
    tested, share = [], 0.0
    for fold in rng.permutation(folds):  # folds of whole groups may be of unequal size: take what fits
        if sizes[fold] and share + sizes[fold] <= plan.test_share + 0.5 / folds:
            tested.append(fold)
            share += sizes[fold]
    tested = tested or [int(np.argmin(np.where(sizes > 0, sizes, np.inf)))]
    held: npt.NDArray[np.bool_] = np.isin(fold_of, tested)
    if held.all():
        raise ConfigError("all records are of one group: there is nothing to choose from; choose another group")
    return held


def _several_given(material: Material, noise: float, rng: np.random.Generator) -> Targets:
    """The answer to every record, to a share ``noise`` of them one label added or taken away."""
    rows, several = np.arange(len(material)), np.array(material.answers[:, 0], np.bool_)
    flipped = rows[rng.random(len(rows)) < noise]
    at = rng.integers(material.classes, size=len(flipped))
    several[flipped, at] = ~several[flipped, at]
    return several


def _one_given(material: Material, noise: float, rng: np.random.Generator) -> Targets:
    """One annotator's answer to every record, a share ``noise`` of them flipped to another label."""
    rows, classes = np.arange(len(material)), material.classes
    counts = (material.answers != NO_ANSWER).sum(axis=1)
    given: npt.NDArray[np.int64] = np.array(material.answers[rows, rng.integers(counts)], np.int64)
    wrong = rng.random(len(rows)) < noise
    shift = rng.integers(1, classes, size=len(rows)) if classes > 1 else np.zeros(len(rows), np.int64)
    return np.where(wrong, (given + shift) % classes, given)


GIVEN = {SOFTMAX: _one_given, SIGMOID: _several_given}


def _checked(picks: Rows, k: int, size: int, strategy: str) -> Rows:
    """The picks. Raises SelectionError if they aren't ``k`` different candidates."""
    if len(picks) != k or len(np.unique(picks)) != k or picks.min() < 0 or picks.max() >= size:
        raise SelectionError(f"strategy {strategy} was asked for {k} of {size} records and gave something else")
    return picks
