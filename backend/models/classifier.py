"""What every classifier of texts does, whatever it was trained by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.connectors.content import Readable


class Classifier(Protocol):
    """Something fitted that predicts."""

    def predict_proba(self, texts: Sequence[Readable]) -> FloatMatrix:
        """Probabilities float32 [len(texts), labels]: rows sum to 1, or each label apart when multi-label."""
        ...
