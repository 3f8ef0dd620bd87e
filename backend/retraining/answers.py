"""What trainings ask of the loop: a copy of the answers, and to go on with another model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.pool.pool import PoolState, Positions

from .embedding_space import EmbeddingSpace
from .probe_model import Model


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was answered when it was asked for: positions, answers, and rows in the cache of ``space``.

    ``sampling_keys`` float64 [m]: those of the training records, see PoolState. ``majority``: what most people said of
    them, by which models are judged, as a model may have had a say in ``targets``.
    """

    log_seq: int
    space: EmbeddingSpace
    training: Positions
    targets: Targets
    majority: Targets
    rows: Positions
    sampling_keys: npt.NDArray[np.float64]
    audited: Positions
    audit_targets: Targets
    audit_rows: Positions


class Loop(Protocol):
    """One project's loop as trainings see it; the controller fulfils it. Any thread may call."""

    @property
    def pool(self) -> PoolState:
        """The project's records; only its ``revision`` is read."""
        ...

    @property
    def model(self) -> Model | None:
        """The probe in use; None before the first."""
        ...

    @property
    def space(self) -> EmbeddingSpace:
        """The space that the pool's vectors are of."""
        ...

    @property
    def move_error(self) -> str:
        """Why the loop stays where it was though it was told to move; "" if it moved, or is about to."""
        ...

    def move_to(self, space: EmbeddingSpace) -> None:
        """Work in ``space`` from the next tick on. Its cache should hold all records but a few."""
        ...

    def labelled(self) -> Labelled:
        """A copy of what the loop knows of the answers."""
        ...
