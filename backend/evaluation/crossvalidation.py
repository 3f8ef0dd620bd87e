"""Predictions of texts by models that have not seen them: k folds of anything that can be fitted, or a fixed test set.

Folds are stratified and never split a group, nor copies of a text (``data.examples``): a model that has read the answer
to the very same text is not evaluated by it. Fits that are done are kept in a
folder under a hash of all that went into them, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.files import atomic_path
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import Figure, Predicted, confidence_interval
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training.spec import EpochFigures
from nextlabel.connectors.content import Readable, as_json
from nextlabel.connectors.errors import LearningError

if TYPE_CHECKING:
    from nextlabel.backend.models.calibration import Classifier

Codes: TypeAlias = npt.NDArray[np.int64]
Fit: TypeAlias = "Callable[[Examples], Classifier]"
History: TypeAlias = tuple[EpochFigures, ...]
"""The epochs of one training; empty where nothing is trained in epochs."""

FORMAT = "nextlabel-fold-2"


@dataclass(frozen=True, slots=True)
class FoldDone:
    """Progress: a fold of ``total`` is predicted, read from the folder if ``kept``.

    ``stage`` is what they are for, ``history`` what was measured after each epoch of its training.
    """

    seed: int
    fold: int
    done: int
    total: int
    kept: bool
    seconds: float
    stage: str = "folds"
    history: History = ()


FoldReport: TypeAlias = Callable[[FoldDone], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One seed: ``fold_of`` int64 [n], and ``predicted`` float32 [n, c], each row by a model without its fold.

    ``rungs``: of the ladder, for every fold in their order the one that its model is of; "" where it does not say.
    ``histories``: for every fold, the epochs of its training.
    """

    seed: int
    fold_of: Codes
    predicted: Predicted
    seconds: float
    rungs: tuple[str, ...] = ()
    histories: tuple[History, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out predictions of ``examples``, one run per seed.

    ``groups`` int64 [n] are drawn whole when intervals are made; None where every row is a group of its own.
    """

    examples: Examples
    runs: tuple[Run, ...]
    groups: Codes | None

    @property
    def predicted(self) -> list[Predicted]:
        """The predictions of every run, float32 [n, c] each."""
        return [run.predicted for run in self.runs]

    def predicting(self, predicted: Sequence[Predicted]) -> HeldOut:
        """The same with other predictions, those of a run each."""
        runs = (replace(run, predicted=one) for run, one in zip(self.runs, predicted, strict=True))
        return replace(self, runs=tuple(runs))

    def interval(self, figure: Figure) -> Interval:
        """A figure of all runs, see :func:`confidence_interval`."""
        return confidence_interval(figure, self.predicted, self.examples.targets, groups=self.groups)


def cross_validate(
    examples: Examples,
    fit: Fit,
    *,
    folds: int = 5,
    seeds: Sequence[int] = (0,),
    random_folds: bool = False,
    keep: Path | None = None,
    name: str = "",
    report: FoldReport | None = None,
) -> HeldOut:
    """Predict every example by a model fitted without its fold, once a seed (which makes the folds).

    ``random_folds`` splits groups and copies, which flatters: for comparison only. ``keep`` is a folder for finished
    folds; ``name`` must then tell everything about ``fit`` that the examples don't (rung, encoder, settings). Raises
    LearningError where nothing can be held out, and whatever ``fit`` raises.
    """
    groups = examples.together()
    check_folds(len(examples), folds, None if random_folds else groups)
    if not seeds:
        raise LearningError("no seed is given; one is the least")
    runs, done = [], 0
    layouts = [
        assign_folds(examples.targets, folds, np.random.default_rng(seed), None if random_folds else groups)
        for seed in seeds
    ]
    total = sum(len(np.unique(layout)) for layout in layouts)
    for seed, fold_of in zip(seeds, layouts, strict=True):
        predicted, found = np.empty((len(examples), len(examples.labels)), np.float32), []
        for fold in np.unique(fold_of):
            held = np.flatnonzero(fold_of == fold)
            train = examples.take(np.flatnonzero(fold_of != fold))
            one = predict_held_out(train, examples.take(held).texts, fit, keep, name)
            predicted[held], done = one.predicted, done + 1
            found.append(one)
            if report is not None:
                report(FoldDone(seed, int(fold), done, total, one.kept, one.seconds, history=one.history))
        rungs, histories = tuple(one.rung for one in found), tuple(one.history for one in found)
        runs.append(Run(seed, fold_of, predicted, sum(one.seconds for one in found), rungs, histories))
    return HeldOut(examples, tuple(runs), groups)


def hold_out(
    train: Examples, test: Examples, fit: Fit, *, keep: Path | None = None, name: str = "", seed: int = 0
) -> HeldOut:
    """Predict the examples of a fixed test set by a model fitted on ``train``; a run of one fold."""
    if not len(train) or not len(test):
        raise LearningError(f"{len(train)} texts to learn from and {len(test)} to test on: both need some")
    if train.labels != test.labels:
        raise LearningError("the labels to learn and those to test must be the same, in one order")
    one = predict_held_out(train, test.texts, fit, keep, name)
    run = Run(seed, np.zeros(len(test), np.int64), one.predicted, one.seconds, (one.rung,), (one.history,))
    return HeldOut(test, (run,), test.together())


def out_of_fold(
    vectors: npt.NDArray[Any],
    targets: Targets,
    classes: int,
    *,
    groups: npt.NDArray[Any] | None = None,
    folds: int = 5,
    seed: int = 0,
    weights: npt.NDArray[Any] | None = None,
    anchors: npt.NDArray[Any] | None = None,
) -> Predicted:
    """Probabilities float32 [m, c] for every row of vectors, each from a probe that has not seen the row's fold.

    Arguments as in ``Probe.fit``. Folds are stratified, and rows with equal ``groups`` [m] are never split: give
    the user or the template where texts of one hand are alike, or the figures flatter. Raises LearningError.
    """
    check_folds(len(vectors), folds, groups)
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1]
    fold_of = assign_folds(targets, folds, np.random.default_rng(seed), codes)
    out = np.empty((len(vectors), classes), np.float32)
    for fold in np.unique(fold_of):
        kept, held = fold_of != fold, fold_of == fold
        part = None if weights is None else weights[kept]
        probe = Probe.fit(vectors[kept], targets[kept], classes, weights=part, anchors=anchors)
        out[held] = probe.predict_proba(vectors[held])
    return out


def check_folds(rows: int, folds: int, groups: npt.NDArray[Any] | None) -> None:
    """Raise LearningError if so many rows, of these groups, can't be split so."""
    if folds < 2:
        raise LearningError(f"{folds} folds leave nothing to learn from; take 2 or more")
    if rows < 2:
        raise LearningError(f"{rows} labelled rows can't be split into folds; label more")
    if groups is not None and len(np.unique(groups)) < 2:
        raise LearningError(
            "all rows are of one group: there is nothing to hold out. Groups that have a text in common count as one: "
            "leave out short texts that everybody writes, or group by another column"
        )


@dataclass(frozen=True, slots=True)
class Unseen:
    """Predictions float32 [n, c] of texts by a model that has not seen them, and the seconds that it took.

    ``kept``: they were found in the folder. ``rung``: of the ladder, what the model is; "" if it does not say.
    ``history``: the epochs of its training.
    """

    predicted: Predicted
    seconds: float
    kept: bool
    rung: str
    history: History = ()


def predict_held_out(train: Examples, texts: tuple[Readable, ...], fit: Fit, keep: Path | None, name: str) -> Unseen:
    """Predictions for ``texts`` of a model of ``train``.

    ``keep`` and ``name`` as for ``cross_validate``. Raises LearningError for predictions that are none.
    """
    path = None if keep is None else keep / f"{_digest(train, texts, name)}.safetensors"
    shape = (len(texts), len(train.labels))
    if path is not None and (found := _read(path, shape)) is not None:
        return found
    started = time.monotonic()
    model = fit(train)
    predicted, rung = np.asarray(model.predict_proba(texts), np.float32), str(getattr(model, "rung", ""))
    history: History = tuple(getattr(model, "history", ()))
    if predicted.shape != shape or not np.isfinite(predicted).all():
        raise LearningError(f"predictions must be finite numbers {list(shape)}; these are {list(predicted.shape)}")
    seconds = time.monotonic() - started
    if path is not None:
        from safetensors.numpy import save_file

        arrays = {"predicted": predicted, "seconds": np.array([seconds])}
        told = {"format": FORMAT, "rung": rung, "history": json.dumps(history)}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata=told)
    return Unseen(predicted, seconds, False, rung, history)


def _read(path: Path, shape: tuple[int, int]) -> Unseen | None:
    """What was kept, None if nothing was or it can't be read: then the fold is fitted again and written anew."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            predicted, seconds = file.get_tensor("predicted"), float(file.get_tensor("seconds")[0])
            told = file.metadata() or {}
            rung, history = told.get("rung", ""), tuple(json.loads(told.get("history", "[]")))
    except (OSError, SafetensorError, KeyError, IndexError, ValueError):
        return None
    if predicted.shape != shape or predicted.dtype != np.float32:
        return None
    return Unseen(predicted, seconds, True, rung, history)


def _digest(train: Examples, texts: tuple[Readable, ...], name: str) -> str:
    """A hash of all that makes a fold's predictions."""
    found = hashlib.sha256()
    for part in (FORMAT, name, *train.labels, "", *train.texts, "", *texts):
        raw = (part if isinstance(part, str) else json.dumps(as_json(part))).encode("utf-8", "surrogatepass")
        found.update(len(raw).to_bytes(8, "little") + raw)
    for array in (train.targets, train.weights, train.groups):
        found.update(b"none" if array is None else str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:32]
