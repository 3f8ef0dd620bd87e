"""Labelled texts, as everything that trains or evaluates takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import LearningError

from .folds import Targets


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with their answers.

    ``targets`` int64 [n] in [0, len(labels)), or bool [n, len(labels)] for multi-label. ``weights`` float32 [n]: how
    much each counts. ``groups`` int64 [n]: examples of one group (same user, same template) never lie on both sides
    of a split. Raises LearningError if shapes or values don't fit together.
    """

    texts: tuple[str, ...]
    targets: Targets
    labels: tuple[str, ...]
    weights: npt.NDArray[np.float32] | None = None
    groups: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self), len(self.labels)) if self.multi_label else (len(self),)
        if self.targets.shape != shape:
            raise LearningError(f"{len(self)} texts don't go with targets of shape {list(self.targets.shape)}")
        if not self.multi_label and len(self) and not 0 <= self.targets.min() <= self.targets.max() < len(self.labels):
            raise LearningError(f"targets must lie in [0, {len(self.labels)})")
        for name, column in (("weights", self.weights), ("groups", self.groups)):
            if column is not None and column.shape != (len(self),):
                raise LearningError(f"{len(self)} texts don't go with {name} of shape {list(column.shape)}")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several labels."""
        return self.targets.ndim == 2

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Examples:
        """Some of the examples, in the order of ``rows``."""
        picked = np.asarray(rows, np.int64)
        return replace(
            self,
            texts=tuple(self.texts[row] for row in picked),
            targets=self.targets[picked],
            weights=None if self.weights is None else self.weights[picked],
            groups=None if self.groups is None else self.groups[picked],
        )
