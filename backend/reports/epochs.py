"""How trainings went, epoch by epoch, as pictures: of the folds of an evaluation, or of a project's model."""

from __future__ import annotations

from collections.abc import Sequence

from nextlabel.backend.training.spec import EpochFigures

from . import plots
from .plots import Picture

LOSSES = {"loss": "loss on what is learned", "log_loss": "log loss on held-out texts"}


def epoch_pictures(trainings: Sequence[Sequence[EpochFigures]]) -> list[Picture]:
    """Loss and held-out macro-F1 by epoch; ``trainings`` without epochs are left out. Raises MissingExtra."""
    apart = [part for epochs in trainings for part in _members(epochs)]
    if not apart:
        return []
    many = f"of {len(apart)} trainings and their mean" if len(apart) > 1 else "of the training"
    first, last = apart[0][0], apart[0][-1]
    found = [
        Picture(
            "epochs-loss",
            "Loss by epoch",
            f"{many}; what is held out tells when to stop",
            f"Loss against epochs: from {first['loss']:.3f} to {last['loss']:.3f} in the first training.",
            plots.epoch_curves(apart, LOSSES, "loss"),
        )
    ]
    if any("macro_f1" in entry for part in apart for entry in part):
        best = [max((entry.get("macro_f1", 0.0) for entry in part), default=0.0) for part in apart]
        found.append(
            Picture(
                "epochs-f1",
                "Macro-F1 by epoch",
                f"{many}, on the texts that each held out",
                f"Held-out macro-F1 against epochs: at best {min(best):.3f} to {max(best):.3f}.",
                plots.epoch_curves(apart, {"macro_f1": "macro-F1"}, "macro-F1 on held-out texts"),
            )
        )
    return found


def _members(epochs: Sequence[EpochFigures]) -> list[list[EpochFigures]]:
    """The epochs of each member by themselves, where there are several."""
    apart: dict[float, list[EpochFigures]] = {}
    for entry in epochs:
        apart.setdefault(entry.get("member", 0), []).append(entry)
    return [part for _, part in sorted(apart.items())]
