"""Checkpoints of one training: whole or not counted, so that a kill at any moment loses little and breaks nothing.

transformers writes weights, optimiser, schedule and random numbers into ``checkpoint-STEP``; when all are on the disk
a note is written into it, and only a checkpoint with a note counts. The note has the key of the training, so that what
another training left in the folder is never taken up.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from nextlabel.backend.learning.atomic import atomic_path, write_atomically

NOTE = "nextlabel.json"
CHECKPOINT_SECONDS = 120.0  # between two; a small job needs none, a long one loses two minutes at most


class Checkpoints:
    """The checkpoints in ``scratch`` of the training called ``key``. Files of others in the folder are removed."""

    def __init__(self, scratch: Path, key: str) -> None:
        self._scratch, self._key = scratch, key
        scratch.mkdir(parents=True, exist_ok=True)
        self.last, self.note = self._find()
        self._tidy()

    def _find(self) -> tuple[Path | None, dict[str, Any]]:
        found: list[tuple[int, Path, dict[str, Any]]] = []
        for file in self._scratch.glob(f"checkpoint-*/{NOTE}"):
            try:
                note = json.loads(file.read_text(encoding="utf-8"))
                if note["key"] == self._key:
                    found.append((int(note["step"]), file.parent, note))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not one of ours, or of another version
        if not found:
            return None, {}
        _, path, note = max(found, key=lambda one: one[0])
        return path, note

    def best(self) -> dict[str, Any] | None:
        """The best state so far as of the last checkpoint: tensors by name."""
        if self.last is None or self.note["best"] is None:
            return None
        from safetensors.torch import load_file

        state: dict[str, Any] = load_file(self._scratch / self.note["best"])
        return state

    def complete(self, step: int, state: dict[str, Any], best: dict[str, Any] | None, best_epoch: float) -> None:
        """Count the checkpoint of ``step``, which has just been written, with ``state`` (JSON) and the best tensors."""
        folder, name = self._scratch / f"checkpoint-{step}", None
        if best is not None:
            name = f"best-{best_epoch:g}.safetensors"
            if not (self._scratch / name).is_file():
                from safetensors.torch import save_file

                with atomic_path(self._scratch / name) as temporary:
                    save_file(best, temporary)
        for file in folder.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        note = {"key": self._key, "step": step, "best": name, **state}
        write_atomically(folder / NOTE, json.dumps(note).encode())
        self.last, self.note = folder, note
        self._tidy()

    def _tidy(self) -> None:
        """Remove every checkpoint but the last, and every best state but its own."""
        for folder in self._scratch.glob("checkpoint-*"):
            if folder != self.last:
                shutil.rmtree(folder, ignore_errors=True)
        for file in self._scratch.glob("best-*.safetensors"):
            if file.name != self.note.get("best"):
                file.unlink(missing_ok=True)
