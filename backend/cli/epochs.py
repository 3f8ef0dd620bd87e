"""Epochs of an evaluation as TensorBoard's files, while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextlabel.backend.training.spec import TrainingProgress
from nextlabel.backend.training.tensorboard import EpochFiles
from nextlabel.connectors.errors import ConfigError

if TYPE_CHECKING:
    from nextlabel.backend.evaluation.crossvalidation import FoldDone
    from nextlabel.backend.evaluation.run import Request

FOLDS = "folds"


class FoldEpochs:
    """Writes each fold's epochs: as they end, where the rung is known, else when the fold does."""

    def __init__(self, files: EpochFiles, request: Request) -> None:
        self.files, self._seeds = files, request.seeds
        self._name = self._of(0, 0)
        self._live = request.rung != "auto"  # the ladder trains for itself in between

    def on_step(self, one: TrainingProgress) -> None:
        """Take a report of the training that runs."""
        if self._live and one.history:
            self.files.write(self._name, one.history)

    def on_fold(self, one: FoldDone) -> None:
        """Take a fold that has ended; the next one begins."""
        if one.stage != FOLDS:
            return
        self.files.write(self._of(one.seed, one.fold), one.history)
        a_seed = one.total // self._seeds
        self._name = self._of(one.done // a_seed, one.done % a_seed)
        self._live = self._live and one.done < one.total

    def _of(self, seed: int, fold: int) -> str:
        return f"fold-{fold + 1}" if self._seeds == 1 else f"seed-{seed}-fold-{fold + 1}"


def fold_epochs(folder: Path | None, request: Request) -> FoldEpochs | None:
    """Where --tensorboard writes; None where nothing was said. Raises ConfigError and MissingExtra before the work."""
    if folder is None:
        return None
    if request.rung in ("probe", "zero-shot"):
        raise ConfigError(
            f"--tensorboard shows epochs, and {request.rung} has none; take --rung fine-tune, or leave it out"
        )

    return FoldEpochs(EpochFiles(folder, f"{Path(request.data).stem or 'data'}-{request.rung}"), request)
