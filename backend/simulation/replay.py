"""One strategy, one seed: a project as it would have gone, with the loop's own learner.

All that chance decides beside the strategy (which records are tested on, who answers what and where they err, which
labels there are to start with) depends on the seed alone. So strategies are compared in pairs, under equal conditions.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SIGMOID, SOFTMAX
from nextlabel.backend.data.examples import assign_folds
from nextlabel.backend.metrics import FIGURES
from nextlabel.backend.models.probe import Probe, score_pool
from nextlabel.backend.selection import Pool, QueryStrategy, ScoringStrategy, choose, relabels
from nextlabel.backend.selection.base import Vectors
from nextlabel.backend.selection.relabelling import Relabelling
from nextlabel.connectors.errors import ConfigError, SelectionError

from .arms import FULL, Arm
from .asking import Asking, Rows, in_turn, settled
from .data import NO_ANSWER, Material
from .plan import Plan

_MOST_FOLDS = 20


class Stopped(Exception):
    """The replay was told to end before its end."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The score on the test records after each number of ``labels``, and the CPU seconds that it took.

    ``records``: how many records these labels are about.
    """

    strategy: str
    seed: int
    labels: tuple[int, ...]
    scores: tuple[float, ...]
    seconds: float
    records: tuple[int, ...] = ()

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Curve:
        """The opposite. Raises ValueError for anything else."""
        try:
            found = json.loads(text)
            labels, scores = tuple(map(int, found["labels"])), tuple(map(float, found["scores"]))
            records = tuple(map(int, found["records"]))
            if not labels or len(labels) != len(scores):
                raise ValueError(f"{len(labels)} numbers of labels, {len(scores)} scores")
            return cls(str(found["strategy"]), int(found["seed"]), labels, scores, float(found["seconds"]), records)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a curve: {error}") from error


@dataclass(frozen=True, slots=True)
class Deal:
    """What a seed decides: rows to choose from and to test on, int64, the first labels, and everybody's answers.

    ``start`` int64: the records asked about first, one entry per answer. ``answers`` int64 [n, a], or bool [n, 1, c],
    and ``people`` int64 [n, a], in the order in which they come, whoever asks.
    """

    pool: Rows
    test: Rows
    start: Rows
    answers: npt.NDArray[Any]
    people: Rows | None

    def asking(self, material: Material, most: int | None) -> Asking:
        """Nobody was asked yet; a record gets ``most`` answers at most."""
        return Asking(self.answers, self.people, material.classes, most)


def deal(material: Material, plan: Plan, seed: int) -> Deal:
    """Decide by ``seed``. Raises ConfigError if the pool is smaller than the budget."""
    split, answering, starting, erring = (np.random.default_rng([seed, part]) for part in range(4))
    tested = material.tested if material.tested is not None else _held_out(material, plan, split)
    pool, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    answers, people = in_turn(material, plan.order, answering)
    has = np.ones(len(material), np.int64) if people is None else (answers != NO_ANSWER).sum(axis=1)
    drawn = starting.permutation(pool)
    start = np.repeat(drawn, np.minimum(has[drawn], plan.start_opinions))[: plan.start]
    if len(start) < plan.start:
        raise ConfigError(f"start is {plan.start:,} labels, and the pool has {len(start):,} to start with; lower it")
    needed = len(np.unique(start)) + plan.budget - plan.start
    if len(pool) < needed:
        raise ConfigError(
            f"the budget is {plan.budget:,} labels, and there are {len(pool):,} records to choose from (the other "
            f"{len(test):,} are tested on); lower the budget"
        )
    return Deal(pool, test, start, NOISE[material.activation](answers, plan.noise, material.classes, erring), people)


@dataclass(frozen=True, slots=True)
class Space:
    """What a replay learns in: the ``vectors`` of all records, and what is known of the labels beforehand.

    ``version``: 0 of the encoder as it is, of a trained one how many labels there were. ``head``: what was trained
    with it, else None. ``learned`` int64: records that it has learned from.
    """

    vectors: npt.NDArray[Any]
    version: int = 0
    head: Probe | None = None
    learned: Rows = field(default_factory=lambda: np.empty(0, np.int64))


class Retrain(Protocol):
    """Trains the encoder when the labels have grown: see ``retraining``."""

    def __call__(self, space: Space, labels: int, rows: Rows, targets: npt.NDArray[Any], /) -> Space:
        """The space to learn in with so many ``labels``: ``space``, or that of an encoder trained on int64 ``rows``."""
        ...


def stay(space: Space, labels: int, rows: Rows, targets: npt.NDArray[Any]) -> Space:
    """The encoder is never trained."""
    return space


def replay(
    material: Material,
    plan: Plan,
    strategy: str,
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
    retrain: Retrain = stay,
    project: type[Project] | None = None,
) -> Curve:
    """Give ``plan.budget`` answers about records chosen by ``strategy``; FULL gives all and is measured once.

    ``project``: the class of what learns, for records that are not labelled as a whole; see ``spans``.

    Raises ConfigError for an unknown strategy, SelectionError for one that misbehaves, Stopped when ``stopped`` says
    so between two rounds, and what ``retrain`` raises.
    """
    began = time.process_time()
    state = (project or Project)(material, plan, Arm.parse(strategy), deal(material, plan, seed), retrain)
    rng = np.random.default_rng([seed, zlib.crc32(strategy.encode())])
    labels, scores, records = [int(state.asking.given.sum())] if strategy == FULL else plan.points(), [], []
    for now, following in zip(labels, [*labels[1:], None], strict=True):
        if stopped():
            raise Stopped
        scores.append(state.learn(now))
        records.append(len(state.asking.answered))
        if following is not None:
            state.ask(following - now, rng)
    return Curve(strategy, seed, tuple(labels), tuple(scores), time.process_time() - began, tuple(records))


class Project:
    """A project that is replayed: what was asked so far, and the model that learned from it."""

    def __init__(self, material: Material, plan: Plan, arm: Arm, dealt: Deal, retrain: Retrain = stay) -> None:
        self._material, self._plan, self._arm, self._dealt, self._retrain = material, plan, arm, dealt, retrain
        self.asking = dealt.asking(material, None if arm.strategy == FULL else plan.opinions)
        self._chooser: QueryStrategy | None = None if arm.strategy == FULL else arm.chooser()
        self._space = Space(material.vectors)
        self._probe: Probe | None = None
        self._first: Probe | None = None  # on the majority's labels, where the arm learns something else
        if arm.strategy == FULL:
            self.asking.ask(np.repeat(dealt.pool, self.asking.most[dealt.pool]))
        else:
            self.asking.ask(dealt.start)

    def learn(self, labels: int) -> float:
        """Fit on all answers, of which there are ``labels``, and return the score on the records tested on."""
        targets = self._settle()
        space = self._retrain(self._space, labels, self.asking.answered, _hard(targets))
        if space.version != self._space.version:
            self._space, self._probe, self._first = space, None, None
            targets = self._settle()
        self._probe = self._fit(targets, self._probe)
        measure, test = FIGURES[self._plan.metric], self._dealt.test
        return measure(score_pool(self._probe, self._space.vectors, test), self._material.truth[test])

    def _settle(self) -> npt.NDArray[Any]:
        """What is learned. A trained encoder has learned from the answers, so there the consensus has no model."""
        rows, arm = self.asking.answered, self._arm
        if arm.consensus != "majority" and (self.asking.given > 1).any() and self._space.head is None:
            self._first = self._fit(self.asking.majority(), self._first)
        return settled(arm, self.asking, np.asarray(self._space.vectors[rows], np.float32), self._first)

    def _fit(self, targets: npt.NDArray[Any], warm: Probe | None) -> Probe:
        material, space = self._material, self._space
        anchors = material.anchors if space.head is None else None
        vectors = space.vectors[self.asking.answered]
        return Probe.fit(vectors, targets, material.classes, anchors=anchors, warm=warm, prior=space.head)

    def ask(self, k: int, rng: np.random.Generator) -> None:
        """Ask for ``k`` more answers, each about another record."""
        chosen = self._choose(k, rng)
        if len(chosen) != k or len(np.unique(chosen)) != k:
            raise SelectionError(
                f"strategy {self._arm.strategy} was asked for {k} of {len(self._dealt.pool)} records and gave "
                "something else"
            )
        self.asking.ask(chosen)

    def _choose(self, k: int, rng: np.random.Generator) -> Rows:
        chooser = self._chooser
        assert chooser is not None  # noqa: S101  # who labels all asks for nothing
        new = self._dealt.pool[self.asking.given[self._dealt.pool] == 0]
        known, predicted = self.known() if relabels(chooser) and self.asking.again else (new[:0], None)
        if predicted is None:
            return _picked(chooser.query(self.view(new), k, rng), new)
        both = np.concatenate([known, new])
        if isinstance(chooser, ScoringStrategy):
            pool = self.view(both, predicted)
            most = self.asking.most[both]
            chosen = Relabelling(chooser, max(2, int(most.max()))).decide(pool, k, rng, people=most).chosen
            return _picked(chosen, both)
        open_ = self.asking.given[both] < self.asking.most[both]
        predicted, both = predicted[open_[: len(known)]], both[open_]
        return _picked(choose(chooser, self.view(both, predicted), k, rng), both)

    def known(self) -> tuple[Rows, npt.NDArray[np.float32] | None]:
        """Records with answers int64 [k] of which something is predicted that has not learned from them, and that.

        A fold of the probe; in a trained space its head, of what it was not trained on. None where nothing is.
        """
        rows, space = self.asking.answered, self._space
        if space.head is not None:
            rows = rows[~np.isin(rows, space.learned)]
            return rows, space.head.predict_proba(np.asarray(space.vectors[rows], np.float32)) if len(rows) else None
        assert self._probe is not None  # noqa: S101  # it has learned before it chooses
        return rows, self._probe.held_out_proba(np.asarray(space.vectors[rows], np.float32))

    def view(self, rows: Rows, predicted: npt.NDArray[np.float32] | None = None) -> Pool:
        """``rows`` as a strategy sees them; those that ``predicted`` [k, c] tells of come first, with their answers."""
        assert self._probe is not None  # noqa: S101
        vectors, answered = self._space.vectors, self.asking.answered
        fresh = score_pool(self._probe, vectors, rows if predicted is None else rows[len(predicted) :])
        return Pool(
            probabilities=fresh if predicted is None else np.concatenate([predicted, fresh]),
            vectors=self.mapped(rows),
            labelled_vectors=np.asarray(vectors[answered], np.float32),
            labelled_targets=self.asking.majority(),
            activation=self._material.activation,
            labelled_probabilities=score_pool(self._probe, vectors, answered),
            opinions=None if predicted is None else self.asking.opinions(rows),
        )

    def mapped(self, rows: Rows) -> Vectors:
        """The vectors of ``rows``, read where a strategy asks for them."""
        return _Mapped(self._space.vectors, rows)


@dataclass(frozen=True, slots=True)
class _Mapped:
    """Vectors of the candidates, read where a strategy asks for them."""

    matrix: npt.NDArray[Any]
    rows: Rows

    def take(self, indices: Rows) -> npt.NDArray[Any]:
        return self.matrix[self.rows[indices]]


def _picked(picks: Rows, rows: Rows) -> Rows:
    """The records picked, int64; none where a pick is none of them."""
    return rows[picks] if len(picks) and picks.min() >= 0 and picks.max() < len(rows) else rows[:0]


def _hard(targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The likeliest label, where the targets say how likely each is."""
    return targets.argmax(axis=1).astype(np.int64) if np.issubdtype(targets.dtype, np.floating) else targets


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


def _several_flipped(
    answers: npt.NDArray[Any], noise: float, classes: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """The answers bool [n, 1, c], with one label added to a share ``noise`` of them, or taken away."""
    several = np.array(answers, np.bool_)
    flipped = np.flatnonzero(rng.random(len(several)) < noise)
    at = rng.integers(classes, size=len(flipped))
    several[flipped, 0, at] = ~several[flipped, 0, at]
    return several


def _one_flipped(
    answers: npt.NDArray[Any], noise: float, classes: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The answers int64 [n, a], a share ``noise`` of them flipped to another label."""
    wrong = (answers != NO_ANSWER) & (rng.random(answers.shape) < noise)
    shift = rng.integers(1, max(2, classes), size=answers.shape)
    return np.where(wrong, (answers + shift) % classes, answers)


NOISE = {SOFTMAX: _one_flipped, SIGMOID: _several_flipped}
