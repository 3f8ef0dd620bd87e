"""Nested cross-validation: what a search finds is measured on texts that the search has never seen.

For each outer fold the whole search is done on the other folds, and what it found predicts the fold, beside the
defaults fitted on the same texts. Choosing the best of many settings by the same held-out texts that measure it would
flatter (Varma and Simon, 2006, "Bias in error estimation when using cross-validation for model selection"; Cawley and
Talbot, 2010, "On Over-fitting in Model Selection"). The settings that are told come of one more search, on all texts:
the figure is that of the procedure. Its interval says how sure the figure is on these texts; that another search might
find other settings is in no interval.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.evaluation.comparison import Difference, paired_bootstrap
from nextlabel.backend.evaluation.crossvalidation import check_folds, predict_held_out
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import Predicted, confidence_interval, macro_f1
from nextlabel.backend.models.card import data_hash
from nextlabel.backend.numeric import plain
from nextlabel.backend.training.spec import ProgressReport, no_report
from nextlabel.connectors.errors import LearningError

from .space import Space
from .study import Found, Pruning, Search, run_study

FORMAT = "nextlabel-tune-1"
WHOLE = "all texts"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is searched: ``trials`` for each study, ``minutes`` for all together (None: as long as it takes).

    ``outer`` folds measure, ``inner`` folds of the others choose. ``study``: the journal file; by default one in the
    space's cache that belongs to these texts and this plan, which another run with the same goes on with.
    """

    trials: int = 20
    minutes: float | None = None
    outer: int = 5
    inner: int = 3
    pruning: Pruning = "median"
    seed: int = 0
    study: Path | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Progress: which study of how many, how many trials it has of how many, and its best score by now."""

    study: str
    number: int
    studies: int
    trials: int
    wanted: int
    best: float | None


StageReport = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class OuterFold:
    """What the search that never saw this fold found, and how both did on it."""

    fold: int
    rows: int
    settings: dict[str, Any]
    inner: float
    trials: int
    pruned: int
    tuned: float
    defaults: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The settings found on all texts, and what the procedure that found them is worth on unseen ones."""

    space: Space
    plan: Plan
    file: Path
    texts: int
    groups: int
    tuned: Interval
    defaults: Interval
    difference: Difference
    outer: tuple[OuterFold, ...]
    final: Found
    whole: bool
    seconds: float

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.difference.low > 0

    @property
    def verdict(self) -> str:
        """A sentence: what the search brought."""
        one = self.difference
        by = f"macro-F1 {one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f}) on the same outer folds"
        if self.better:
            return f"better than the defaults: {by}"
        if one.high < 0:
            return f"worse than the defaults: {by}; keep the defaults"
        return f"not better than the defaults: {by}, which includes 0; nothing says that the defaults should be left"

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings as keys of a recipe."""
        return self.space.recipe(self.final.settings)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not defined is None."""
        from importlib.metadata import version

        gain = self.difference
        return {
            "tuned": {"macro_f1": self.tuned.to_json()},
            "defaults": {"macro_f1": self.defaults.to_json(), "settings": self.space.defaults()},
            "difference": Interval(gain.mean, gain.low, gain.high).to_json(),
            "better": self.better,
            "verdict": self.verdict,
            "settings": self.final.settings,
            "recipe": self.recipe,
            "inner_macro_f1": plain(self.final.score),
            "rung": self.space.rung,
            "searched": self.space.told(),
            "outer_folds": plain(self.outer),
            "trials": plain(self.final.trials),
            "asked": {"trials": self.plan.trials, "outer": self.plan.outer, "inner": self.plan.inner},
            "pruning": self.plan.pruning,
            "whole": self.whole,
            "n": self.texts,
            "groups": self.groups,
            "seed": self.plan.seed,
            "study": str(self.file),
            "seconds": round(self.seconds, 2),
            "nextlabel": version("nextlabel"),
        }


def study_file(examples: Examples, space: Space, plan: Plan) -> Path:
    """Where the studies of these texts, this space and this plan lie."""
    return plan.study or space.cache / "studies" / f"{_key(examples, space, plan)}.journal"


def tune(
    examples: Examples,
    space: Space,
    plan: Plan,
    *,
    on_stage: StageReport = lambda _: None,
    on_step: ProgressReport = no_report,
) -> Tuned:
    """Search and measure. Folds respect ``examples.together()``, outer and inner ones alike.

    It goes on with what is in the study's file, and several processes may do so at once. Raises LearningError where
    nothing can be held out or learned, MissingExtra without optuna.
    """
    began, groups = time.monotonic(), examples.together()
    if not space.searched:
        raise LearningError("every setting has one value, so there is nothing to search; give a list or a range")
    check_folds(len(examples), plan.outer, groups)
    end = None if plan.minutes is None else began + 60 * plan.minutes
    file, key = study_file(examples, space, plan), _key(examples, space, plan)
    fold_of = assign_folds(examples.targets, plan.outer, np.random.default_rng([plan.seed, 0]), groups)
    folds = np.unique(fold_of)
    studies = len(folds) + 1

    def searched(name: str, number: int, train: Examples) -> Found:
        def on_trial(found: Found | None, trials: int) -> None:
            best = None if found is None else found.score
            on_stage(Stage(name, number + 1, studies, min(trials, plan.trials), plan.trials, best))

        keep = space.cache / "folds"
        how = Search(space, plan.trials, plan.inner, plan.pruning, plan.seed, file, keep, on_trial, on_step)
        now = time.monotonic()
        deadline = None if end is None else now + max(0.0, end - now) / (studies - number)
        return run_study(f"{key}-{name}", train, how, deadline)

    tuned, usual = (np.zeros((len(examples), len(examples.labels)), np.float32) for _ in range(2))
    outer, founds = [], []
    for number, fold in enumerate(folds):
        train, held = examples.take(np.flatnonzero(fold_of != fold)), np.flatnonzero(fold_of == fold)
        found = searched(f"outer fold {number + 1}", number, train)
        texts = examples.take(held).texts
        tuned[held] = _predicted(train, texts, found.settings, space, plan, on_step)
        usual[held] = _predicted(train, texts, space.defaults(), space, plan, on_step)
        founds.append(found)
        outer.append(_outer(int(fold), held, found, tuned, usual, examples))
    final = searched(WHOLE, len(folds), examples)
    measured = [confidence_interval(macro_f1, [one], examples.targets, groups=groups) for one in (tuned, usual)]
    return Tuned(
        space,
        plan,
        file,
        len(examples),
        0 if examples.groups is None else len(np.unique(examples.groups)),
        measured[0],
        measured[1],
        paired_bootstrap(usual, tuned, examples.targets, figure=macro_f1, groups=groups),
        tuple(outer),
        final,
        all(one.whole for one in [*founds, final]),
        time.monotonic() - began,
    )


def _predicted(
    train: Examples,
    texts: tuple[Any, ...],
    settings: dict[str, Any],
    space: Space,
    plan: Plan,
    on_step: ProgressReport,
) -> Predicted:
    rung, name = space.rung_of(settings, plan.seed), space.name(settings, plan.seed)
    return predict_held_out(train, texts, partial(rung.fit, report=on_step), space.cache / "folds", name).predicted


def _outer(fold: int, held: Any, found: Found, tuned: Predicted, usual: Predicted, examples: Examples) -> OuterFold:
    scores = (float(macro_f1(one[held], examples.targets[held])) for one in (tuned, usual))
    pruned = sum(one.pruned for one in found.trials)
    return OuterFold(fold, len(held), found.settings, found.score, len(found.trials), pruned, *scores)


def _key(examples: Examples, space: Space, plan: Plan) -> str:
    """A name for all that makes the searches beside how many trials they have."""
    found = hashlib.sha256(data_hash(examples).encode())
    groups = examples.together()
    found.update(b"none" if groups is None else np.ascontiguousarray(groups).tobytes())
    encoders = [space.name({**space.defaults(), "encoder": one}, 0) for one in space.tried["encoder"].ends]
    told = [FORMAT, space.rung, space.told(), space.defaults(), encoders, plan.outer, plan.inner, plan.seed]
    found.update(json.dumps(told, sort_keys=True).encode())
    return found.hexdigest()[:16]
