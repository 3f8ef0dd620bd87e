"""The model ladder: how far up it pays to climb, told by held-out answers and by no fixed number of labels.

Every rung is scored on the same splits: the audit slice, if there is one, with all other labels to learn from; then
stratified folds of the labels. A dearer rung is taken when it has more of them right than the best one so far: both
are there to be used, and the likelier one is the better choice even where the difference could be chance. (To ask for
a gain of one standard error, as Breiman et al., 1984, do to keep trees small, made it stay with the probe on a hundred
texts where few-shot was 8 points better.) How sure the difference is, is told beside it: rows of different folds were
predicted by models that share most of their training texts, so its variance is multiplied by 1 + held-out rows /
training rows (Nadeau and Bengio, 2003, "Inference for the Generalization Error").
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets, activation_of
from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.base import EncoderSpec, Engine
from nextlabel.backend.intervals import wilson_interval
from nextlabel.backend.numeric import plain
from nextlabel.backend.training.spec import ProgressReport, RungName, TrainingSpec
from nextlabel.connectors.errors import ConfigError, LearningError

from .rungs import RUNGS, Fitted, Rung, Setup, auto_rungs, no_such_rung, rungs_for, trained_rungs

FOLDS = 5
BUDGET_SECONDS = 900.0  # for the scoring of one rung; its first split always runs to the end
HOPELESS = 1.0  # standard errors: a rung with fewer mistakes than that leaves nothing to be told apart

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RungScore:
    """What was found out about one rung.

    ``score`` is the mean over ``rows`` held-out texts of ``row_scores``, with its 95% interval from ``low`` to
    ``high``; all nan and 0 for a rung that was skipped. ``gain`` is the paired difference to the best rung below it
    and ``gain_error`` its standard error, nan where there is none. ``seconds`` is the time that ``splits`` fits and
    predictions took. ``reason`` says why it was climbed, left, or skipped.
    """

    name: str
    rows: int
    splits: int
    score: float
    low: float
    high: float
    gain: float
    gain_error: float
    seconds: float
    climbed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LadderReport:
    """The rungs from the cheapest on, and the one to use. ``labels`` is how many labelled texts there were."""

    labels: int
    rungs: tuple[RungScore, ...]
    chosen: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain numbers and texts, null for what is not known."""
        return {"labels": self.labels, "chosen": self.chosen, "rungs": plain(self.rungs)}

    def __str__(self) -> str:
        """A table for people."""
        lines = [f"{'rung':<10} {'held-out score':>22} {'texts':>6} {'seconds':>8}  why"]
        for one in self.rungs:
            score = f"{one.score:.3f} ({one.low:.3f}-{one.high:.3f})" if one.rows else "-"
            mark = "*" if one.name == self.chosen else " "
            lines.append(f"{one.name:<9}{mark} {score:>22} {one.rows:>6} {one.seconds:>8.1f}  {one.reason}")
        return "\n".join([*lines, f"from {self.labels} labels: {self.chosen}"])


@dataclass(frozen=True, slots=True)
class Split:
    """Texts to learn from and texts to be tested on."""

    train: Examples
    test: Examples


@dataclass(frozen=True, slots=True)
class _Tried:
    """Row scores of one rung, one array a split, in the order of the splits."""

    scores: list[Scores]
    seconds: float


def climb(
    examples: Examples,
    rungs: Sequence[Rung],
    rng: np.random.Generator,
    *,
    audit: Examples | None = None,
    budget_s: float = BUDGET_SECONDS,
    report: ProgressReport | None = None,
) -> LadderReport:
    """Score ``rungs``, the cheapest first, and choose one.

    ``audit`` are answers that no rung may learn from. Folds respect ``examples.together()``. ``budget_s`` bounds the
    seconds a rung: after its first split it goes on only as far as its time allows; the gain is then measured on
    the splits that both have. Raises LearningError without rungs; a rung that fails is left out, with its error as
    the reason.
    """
    if not rungs:
        raise LearningError("a ladder needs at least one rung")
    splits = make_splits(examples, rng, audit)
    if not splits:
        why = "no two labels have two labelled texts each: nothing can be held out"
        return LadderReport(len(examples), tuple(_skipped(rung.name, why) for rung in rungs), rungs[0].name)
    found: list[RungScore] = []
    best: tuple[str, _Tried] | None = None
    for rung in rungs:
        if best is not None and (why := _hopeless(splits, *best)):
            found.append(_skipped(rung.name, why))
            continue
        try:
            tried = _try(rung, splits, budget_s, report)
        except LearningError as error:
            found.append(_skipped(rung.name, f"failed: {error}"))
            continue
        score = _judge(rung.name, tried, splits, best)
        found.append(score)
        if score.climbed:
            best = rung.name, tried
    return LadderReport(len(examples), tuple(found), best[0] if best else rungs[0].name)


def make_splits(examples: Examples, rng: np.random.Generator, audit: Examples | None = None) -> list[Split]:
    """The audit slice, then folds; no folds where fewer than two labels could be on both sides of one."""
    splits = [Split(examples, audit)] if audit is not None and len(audit) else []
    if not _divisible(examples):
        return splits
    fold_of = assign_folds(examples.targets, FOLDS, rng, examples.together())
    for fold in np.unique(fold_of):
        kept, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        if len(kept):
            splits.append(Split(examples.take(kept), examples.take(held)))
    return splits


def row_scores(predicted: npt.NDArray[np.float32], targets: Targets) -> Scores:
    """How right each row is, float64 [n] in [0, 1]: right or wrong; multi-label F1 of its labels, 1 for both empty."""
    said, true = activation_of(targets).decided(predicted), activation_of(targets).flags(targets, predicted.shape[1])
    total, hits = said.sum(axis=1) + true.sum(axis=1), (said & true).sum(axis=1)
    scores: Scores = np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)
    return scores


def _divisible(examples: Examples) -> bool:
    """Whether two labels at least occur in two groups each (without groups: in two different texts)."""
    together = examples.together()
    groups = np.arange(len(examples)) if together is None else together
    return sum(len(np.unique(groups[column])) >= 2 for column in examples.flags.T) >= 2


def _try(rung: Rung, splits: Sequence[Split], budget_s: float, report: ProgressReport | None) -> _Tried:
    """Fit and score on one split after the other, while there is time for one more."""
    began, scores = time.monotonic(), []
    for done, split in enumerate(splits, 1):
        predicted = rung.fit(split.train, report).predict_proba(split.test.texts)
        scores.append(row_scores(predicted, split.test.targets))
        spent = time.monotonic() - began
        if spent + spent / done > budget_s:
            break
    return _Tried(scores, time.monotonic() - began)


def _judge(name: str, tried: _Tried, splits: Sequence[Split], best: tuple[str, _Tried] | None) -> RungScore:
    """A rung's figures, and whether it is to be climbed."""
    used = splits[: len(tried.scores)]
    rows = np.concatenate(tried.scores)
    mean, independent = float(rows.mean()), _independent(used)
    low, high = wilson_interval(mean * independent, independent)
    gain = error = float("nan")
    climbed, reason = True, "the first rung"
    if best is not None:
        gain, error = _paired(tried, best[1], splits)
        climbed = gain > 0
        reason = f"{gain:+.3f} over {best[0]}, standard error {error:.3f}"
        if len(used) < len(splits):
            reason += f"; time for {len(used)} of {len(splits)} splits"
    return RungScore(name, len(rows), len(used), mean, low, high, gain, error, tried.seconds, climbed, reason)


def _paired(one: _Tried, other: _Tried, splits: Sequence[Split]) -> tuple[float, float]:
    """Mean difference on the rows that both have predicted, and its corrected standard error."""
    shared = min(len(one.scores), len(other.scores))
    gaps = np.concatenate(one.scores[:shared]) - np.concatenate(other.scores[:shared])
    return float(gaps.mean()), _standard_error(gaps, splits[:shared])


def _standard_error(values: Scores, splits: Sequence[Split]) -> float:
    """Of a mean over held-out rows; rows of one group count as one observation."""
    group_of = _groups(splits)
    groups = int(group_of.max()) + 1
    if groups < 2:
        return float("inf")
    # Of a ratio estimator, for groups of unequal size (Cochran, 1977, "Sampling Techniques", 6.4).
    sums = np.bincount(group_of, weights=values - values.mean(), minlength=groups)
    variance = groups / (groups - 1) * float((sums**2).sum()) / len(values) ** 2
    trained = float(np.mean([len(split.train) for split in splits]))
    return float(np.sqrt(variance * (1 + len(values) / max(trained, 1.0))))


def _groups(splits: Sequence[Split]) -> npt.NDArray[np.int64]:
    """A number from 0 on for every held-out row, equal within a group of a split."""
    numbers, start = [], 0
    for split in splits:
        groups = split.test.together()
        codes = np.arange(len(split.test)) if groups is None else np.unique(groups, return_inverse=True)[1]
        numbers.append(codes + start)
        start = int(numbers[-1].max()) + 1
    return np.asarray(np.concatenate(numbers), np.int64)


def _independent(splits: Sequence[Split]) -> int:
    return int(_groups(splits).max()) + 1


def _hopeless(splits: Sequence[Split], name: str, tried: _Tried) -> str:
    """Why not even a rung without an error could be told from the best so far; "" if it could."""
    missing = 1 - np.concatenate(tried.scores)
    error = _standard_error(missing, splits[: len(tried.scores)])
    if missing.mean() > HOPELESS * error:
        return ""
    lost = f"{name} loses {missing.sum():.3g} of {len(missing)} held-out texts"
    return f"{lost}: not even a perfect rung could be told from it"


def _skipped(name: str, reason: str) -> RungScore:
    nan = float("nan")
    return RungScore(name, 0, 0, nan, nan, nan, nan, nan, 0.0, climbed=False, reason=f"skipped: {reason}")


@dataclass(frozen=True, slots=True)
class Auto:
    """The rung that the ladder chooses on held-out answers, fitted on all of them; none above ``spec.rung``."""

    setup: Setup
    name: Literal["auto"] = "auto"

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Fitted:
        """See Rung."""
        highest = self.setup.spec.rung
        allowed = set(RUNGS if highest == "auto" else RUNGS[: RUNGS.index(highest) + 1])
        encoder = self.setup.encoder.name
        if highest == "auto":
            allowed -= set(trained_rungs(encoder)) - set(auto_rungs(encoder))
        if self.setup.spec.fusion == "none":
            allowed.discard("fusion")
        rungs = [rung for rung in rungs_for(self.setup) if rung.name in allowed]
        chosen = climb(train, rungs, np.random.default_rng(self.setup.spec.seed), report=report).chosen
        return next(rung for rung in rungs if rung.name == chosen).fit(train, report, keep=keep)


def make_rung(
    name: RungName | Literal["auto"],
    encoder: str,
    spec: TrainingSpec,
    *,
    engine: Engine = "auto",
    max_length: int = 128,
    windows: int = 1,
    cache_dir: Path,
    descriptions: Mapping[str, str] = {},
    images: ImageRules | None = None,
) -> Rung:
    """The rung called ``name`` on ``encoder``; ``auto`` lets held-out answers choose among all.

    ``max_length`` in tokens; a longer text is read, and trained on, in up to ``windows`` windows.
    ``cache_dir`` keeps embeddings between runs and holds a training while it runs. ``descriptions`` gives labels a
    sentence in plain words, for zero-shot and as the probe's start. ``images``: where pictures may be read. Raises
    ConfigError for an unknown name, and for a rung that the encoder does not have (``hashing`` has nothing to train).
    """
    asked = EncoderSpec(encoder, engine, max_length, windows=windows, images=images, cache_dir=cache_dir)
    setup = Setup(asked, spec, cache_dir, descriptions)
    if name == "auto":
        return Auto(setup)
    if name not in RUNGS:
        raise ConfigError(f"rung {name!r} is unknown; choose one of auto, {', '.join(RUNGS)}")
    rungs = {rung.name: rung for rung in rungs_for(setup)}
    if name not in rungs:
        raise no_such_rung(name, encoder, list(rungs))
    return rungs[name]
