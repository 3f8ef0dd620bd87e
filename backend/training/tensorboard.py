"""Losses and figures of every epoch in the files that TensorBoard reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nextlabel.connectors.errors import ConfigError, MissingExtra

from .spec import EpochFigures

SCALARS = {
    "loss": "loss/training",
    "log_loss": "loss/held-out log loss",
    "macro_f1": "held-out macro-F1",
    "temperature": "temperature",
}
"""Of an epoch: what it is called in TensorBoard."""
EPOCHS = 1000  # steps are whole numbers and epochs need not be: a step is a thousandth of one


class EpochFiles:
    """Writes epochs below ``folder``, in a new folder named by ``title`` and the time: one curve per training.

    What is written is there to be seen at once. Raises MissingExtra without tensorboard, and ConfigError if nothing can
    be written there.
    """

    def __init__(self, folder: Path, title: str) -> None:
        if find_spec("tensorboard") is None:
            raise MissingExtra("tensorboard", "tensorboard")
        self.folder = folder / f"{title}-{datetime.now():%Y%m%d-%H%M%S}"
        self._writers: dict[str, Any] = {}
        self._written: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--tensorboard {str(folder)!r}: {error.strerror or error}; name a folder") from None

    def write(self, name: str, history: Sequence[EpochFigures]) -> None:
        """Add the epochs of the training called ``name`` that were not written yet; ``history`` has them all."""
        new = history[self._written.get(name, 0) :]
        self._written[name] = len(history)
        for entry in new:
            part = f"{name}-member-{int(entry['member']) + 1}" if "member" in entry else name
            if part not in self._writers:
                from torch.utils.tensorboard import SummaryWriter

                self._writers[part] = SummaryWriter(str(self.folder / part))
            for key, title in SCALARS.items():
                if key in entry:
                    self._writers[part].add_scalar(title, entry[key], round(entry["epoch"] * EPOCHS))
            self._writers[part].flush()

    def close(self) -> None:
        """Nothing more is written."""
        for writer in self._writers.values():
            writer.close()
