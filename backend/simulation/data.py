"""What is replayed: records as vectors, what is true of them, and the answers that people gave or would give."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Activation, Targets, activation_of
from nextlabel.backend.files import atomic_path
from nextlabel.connectors.errors import LearningError

NO_ANSWER = -1


@dataclass(frozen=True)
class Material:
    """Records with their answers; processes share it by mapping its files.

    ``vectors``: floating [n, d], rows of length 1, mostly float16 as in the embedding cache. ``anchors``: float32
    [c, d], a vector per label. ``truth``: int64 [n], or bool [n, c] where a record may have several labels: what models
    are tested against. ``answers``: int64 [n, a], the answers of up to ``a`` annotators, packed to the left and
    filled with -1, or bool [n, 1, c]: what models learn from. ``groups``: int64 [n], never split between the records
    to choose from and those to test on. ``tested``: bool [n], which records are tested on in every seed; without it,
    each seed draws its own. Raises LearningError if shapes don't fit together.
    """

    vectors: npt.NDArray[Any]
    anchors: npt.NDArray[np.float32]
    truth: Targets
    answers: npt.NDArray[Any]
    groups: npt.NDArray[np.int64] | None = None
    tested: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        rows, classes = len(self.vectors), len(self.anchors)
        if self.vectors.ndim != 2 or self.anchors.shape[1:] != self.vectors.shape[1:]:
            raise LearningError(f"vectors {self.vectors.shape} don't go with anchors {self.anchors.shape}")
        if self.truth.shape != self.activation.shape(rows, classes):
            raise LearningError(f"{rows} records don't go with truth {self.truth.shape}")
        if self.answers.shape[:1] + self.answers.shape[2:] != self.truth.shape or self.answers.ndim < 2:
            raise LearningError(f"{rows} records don't go with answers {self.answers.shape}")
        if (self.answers[:, 0] == NO_ANSWER).any():
            raise LearningError("a record without any answer can't be asked about; leave it out")
        for name in ("groups", "tested"):
            column = getattr(self, name)
            if column is not None and column.shape != (rows,):
                raise LearningError(f"{rows} records don't go with {name} {column.shape}")

    @property
    def activation(self) -> Activation:
        """Whether a record has one label, or may have several."""
        return activation_of(self.truth)

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.anchors)

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def digest(self) -> str:
        """A hash of everything in it."""
        found = hashlib.sha256()
        for name, array in self._arrays().items():
            found.update(f"{name} {array.dtype} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it to ``folder``, a file an array, each whole or not at all."""
        for name, array in self._arrays().items():
            with atomic_path(folder / f"{name}.npy") as path, path.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Material:
        """What ``save`` wrote, mapped into memory and read-only."""
        found: dict[str, Any] = {
            one.name: np.load(path, mmap_mode="r", allow_pickle=False)
            for one in fields(cls)
            if (path := folder / f"{one.name}.npy").exists()
        }
        return cls(**found)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: array for name, array in named.items() if array is not None}
