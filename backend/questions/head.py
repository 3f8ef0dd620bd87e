"""What is fitted on a question's answers: a head, on the vectors of a space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from nextlabel.backend.activation import Activation
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.models.probe import Probe

from .outputs import Flags, Matrix, Outputs, Rows, View


class Space(Protocol):
    """Where a head's vectors come from: an encoder and its cache; see retraining's EmbeddingSpace."""

    @property
    def encoder(self) -> Encoder:
        """What makes the vectors."""
        ...

    @property
    def cache(self) -> EmbeddingCache:
        """Where they lie."""
        ...

    def fit(
        self,
        vectors: Matrix,
        targets: npt.NDArray[Any],
        classes: int,
        warm: Probe | None = None,
        settled: Flags | None = None,
    ) -> Probe:
        """A probe on vectors of this space, after what is known of the labels before any answer."""
        ...


class Head(ABC):
    """What the answers so far come to, on the vectors of one space. Immutable; safe to share between threads."""

    @property
    def is_blank(self) -> bool:
        """Whether it knows nothing yet, so that it is not worth writing its suggestions down."""
        return False

    @abstractmethod
    def predict(self, cache: EmbeddingCache, rows: Rows) -> Outputs:
        """What it says of the texts in ``rows`` of the cache, however many."""

    @abstractmethod
    def predict_read(self, read: npt.NDArray[Any]) -> Outputs:
        """What it says of texts that were read: see Question.read and Question.reader."""

    @abstractmethod
    def view(self, cache: EmbeddingCache, rows: Rows, *, spans: bool) -> View:
        """The texts in ``rows`` as a strategy sees them; with ``spans`` also what is proposed, if it proposes spans."""

    def held_out(self, cache: EmbeddingCache, rows: Rows) -> Matrix | None:
        """Probabilities [k, c] of texts that it was fitted on, as if it had not been; None where it can't tell."""
        return None

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Those that it tells apart, in order; empty where that is not known."""

    @property
    def several(self) -> bool:
        """Whether it was made for records that may have any number of labels."""
        return False

    @abstractmethod
    def aligned(self, labels: tuple[str, ...], activation: Activation) -> Head | None:
        """The same head for the ``labels`` that are asked; None if nothing that it knows is, or not which it knows."""

    @abstractmethod
    def fault(self, encoder: Encoder) -> str:
        """Why it can't read the vectors of ``encoder``; empty if it can."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write it to ``path``, safetensors."""
