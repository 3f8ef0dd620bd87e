"""The search on some labels: Optuna proposes settings, inner folds of these labels judge them.

A study lies in a journal file that several processes may work on at once; what was tried is there after a kill. The
first trial is always the defaults. After each inner fold the pruner may end a trial that does worse than others did at
that point; the score is macro-F1 over all rows predicted so far, so that rare labels count as in the whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.evaluation.crossvalidation import check_folds, predict_held_out
from nextlabel.backend.files import exclusive
from nextlabel.backend.metrics import macro_f1
from nextlabel.backend.training.spec import ProgressReport, TrainingProgress
from nextlabel.connectors.errors import LearningError, MissingExtra

from .space import Space, rounded

if TYPE_CHECKING:
    import optuna

Pruning: TypeAlias = Literal["median", "hyperband", "none"]
STARTUP = 5  # trials before the pruner ends one, and before proposals are more than random
DEFAULTS, SETTINGS, PROBLEM, CHOSEN = "defaults", "settings", "problem", "chosen"


class _TimeIsUp(Exception):
    """The time for the search ran out within a trial."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that were tried: their macro-F1 on inner folds (of those that were done, if ``pruned``), nan if none."""

    number: int
    settings: dict[str, Any]
    score: float
    pruned: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The best settings of a study, all its trials, and whether it had as many as it should."""

    settings: dict[str, Any]
    score: float
    trials: tuple[Trial, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Search:
    """How a study is made. ``deadline``: by time.monotonic(); the first trial is finished whatever it says."""

    space: Space
    trials: int
    inner: int
    pruning: Pruning
    seed: int
    file: Path
    keep: Path
    on_trial: Callable[[Found | None, int], None]
    on_step: ProgressReport


def run_study(name: str, train: Examples, search: Search, deadline: float | None) -> Found:
    """Search on ``train`` until there are enough trials, or time is up. Raises LearningError if none has a score."""
    study = _open(name, search)
    fold_of = _inner_folds(train, search)
    while True:
        trials = trials_of(study)
        search.on_trial(_found(study, search.trials) if _scored(study) else None, len(trials))
        first = not _scored(study)
        if len(trials) >= search.trials or (not first and deadline is not None and time.monotonic() >= deadline):
            break
        if first and len(trials) > STARTUP:
            break  # nothing can be learned with any settings
        limit = None if first else deadline
        study.optimize(
            partial(_objective, train=train, fold_of=fold_of, search=search, deadline=limit), 1, catch=(_TimeIsUp,)
        )
    if not _scored(study):
        problems = [one.problem for one in trials_of(study) if one.problem]
        raise LearningError(f"no settings could be tried: {problems[-1] if problems else 'no trial came to an end'}")
    return _agreed(study, search, name)


def _open(name: str, search: Search) -> optuna.Study:
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise MissingExtra("optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruners = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=search.inner),
        "none": optuna.pruners.NopPruner,
    }
    search.file.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(search.file.with_suffix(".lock")):
        try:
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(search.file))),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=pruners[search.pruning](),
            )
            known = study.get_trials(deepcopy=False)
        except (OSError, ValueError, KeyError) as error:
            raise LearningError(f"{search.file} can't be used: {error}; name another file with --study") from error
        waiting = [one for one in known if one.user_attrs.get(DEFAULTS) and one.state.name in ("WAITING", "COMPLETE")]
        if not waiting:
            study.enqueue_trial({}, user_attrs={DEFAULTS: True})
    # Who goes on, or joins, draws other proposals than those that are there.
    joined = [os.getpid()] if known else []
    seed = int(np.random.SeedSequence([search.seed, len(known), *joined]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    return study


def _inner_folds(train: Examples, search: Search) -> Any:
    groups = train.together()
    check_folds(len(train), search.inner, groups)
    return assign_folds(train.targets, search.inner, np.random.default_rng([search.seed, 1]), groups)


def _objective(trial: optuna.Trial, train: Examples, fold_of: Any, search: Search, deadline: float | None) -> float:
    """Macro-F1 of the trial's settings over the inner folds of ``train``."""
    import optuna

    space = search.space
    settings = space.defaults() if trial.user_attrs.get(DEFAULTS) else rounded(space.suggest(trial))
    trial.set_user_attr(SETTINGS, settings)

    def report(progress: TrainingProgress) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise _TimeIsUp
        search.on_step(progress)

    predicted = np.zeros((len(train), len(train.labels)), np.float32)
    seen = np.zeros(len(train), np.bool_)
    score = 0.0
    for step, fold in enumerate(np.unique(fold_of), 1):
        if deadline is not None and time.monotonic() >= deadline:
            raise _TimeIsUp
        held, rest = np.flatnonzero(fold_of == fold), train.take(np.flatnonzero(fold_of != fold))
        try:
            rung, key = space.rung_of(settings, search.seed), space.name(settings, search.seed)
            fit = partial(rung.fit, report=report)
            one = predict_held_out(rest, train.take(held).texts, fit, search.keep, key)
        except LearningError as error:
            trial.set_user_attr(PROBLEM, str(error))
            raise optuna.TrialPruned from error
        predicted[held], seen[held] = one.predicted, True
        score = float(macro_f1(predicted[seen], train.targets[seen]))
        trial.report(score, step)
        if not trial.user_attrs.get(DEFAULTS) and step < search.inner and trial.should_prune():
            raise optuna.TrialPruned
    return score


def trials_of(study: optuna.Study) -> list[Trial]:
    """What was tried to its end, or until it was pruned."""
    return [
        Trial(
            one.number,
            dict(one.user_attrs.get(SETTINGS, {})),
            float("nan") if one.value is None else float(one.value),
            one.state.name == "PRUNED",
            str(one.user_attrs.get(PROBLEM, "")),
        )
        for one in study.get_trials(deepcopy=False)
        if one.state.name in ("COMPLETE", "PRUNED")
    ]


def _scored(study: optuna.Study) -> bool:
    return any(not one.pruned for one in trials_of(study))


def _found(study: optuna.Study, wanted: int) -> Found:
    """The best trial, the earliest in doubt."""
    trials = trials_of(study)
    best = max((one for one in trials if not one.pruned), key=lambda one: (one.score, -one.number))
    return Found(best.settings, best.score, tuple(trials), len(trials) >= wanted)


def _agreed(study: optuna.Study, search: Search, name: str) -> Found:
    """What processes that work on one study agree upon: what the first of them found when there were enough trials."""
    key = f"{CHOSEN}-{search.trials}"
    with exclusive(search.file.with_suffix(".lock")):
        found = _found(study, search.trials)
        if not found.whole:
            return found
        chosen = study.user_attrs.get(key)
        if chosen is None:
            study.set_user_attr(key, next(one.number for one in found.trials if one.settings == found.settings))
            return found
    one = next(trial for trial in found.trials if trial.number == chosen)
    return Found(one.settings, one.score, found.trials, whole=True)
