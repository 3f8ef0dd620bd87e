"""An encoder for texts with images and the fusion head trained on it, as one classifier of strings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nextlabel.backend.learning.atomic import write_atomically
from nextlabel.backend.learning.examples import Examples
from nextlabel.backend.learning.multimodal.encoder import MultimodalEncoder
from nextlabel.backend.learning.multimodal.fusion import FusionHead, Matrix
from nextlabel.backend.learning.multimodal.fusion_training import FusionSpec, train_fusion
from nextlabel.connectors.errors import LearningError

ENCODER_FILE = "encoder.json"


@dataclass(frozen=True, slots=True)
class FusionClassifier:
    """Predicts labels of the strings of ``connectors.content``."""

    encoder: MultimodalEncoder
    head: FusionHead

    def predict_proba(self, texts: Sequence[str]) -> Matrix:
        """float32 [n, c]: rows sum to 1, or each label apart when multi-label."""
        return self.head.predict_proba(self.encoder.towers(texts))

    def save(self, folder: str | Path) -> None:
        """Write the head into ``folder``, and which encoder it is for."""
        named = {"name": self.encoder.name, "fingerprint": self.encoder.fingerprint}
        self.head.save(folder)
        write_atomically(Path(folder) / ENCODER_FILE, (json.dumps(named, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path, encoder: MultimodalEncoder) -> FusionClassifier:
        """Read what ``save`` wrote. Raises LearningError if it is for another encoder, or can't be read."""
        file = Path(folder) / ENCODER_FILE
        try:
            named = json.loads(file.read_text(encoding="utf-8"))
            name, fingerprint = named["name"], named["fingerprint"]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise LearningError(f"{file} can't be read: {error}; train the head again") from error
        if fingerprint != encoder.fingerprint:
            raise LearningError(f"{folder} was trained on {name} ({fingerprint}), not on {encoder.fingerprint}")
        return cls(encoder, FusionHead.load(folder))


def fusion_fit(encoder: MultimodalEncoder, spec: FusionSpec | None = None) -> Callable[[Examples], FusionClassifier]:
    """What trains a classifier on examples, as cross-validation takes it; images are encoded once in all."""

    def fit(examples: Examples) -> FusionClassifier:
        towers = encoder.towers(examples.texts)
        head = train_fusion(
            towers, examples.targets, examples.labels, spec, weights=examples.weights, groups=examples.groups
        )
        return FusionClassifier(encoder, head)

    return fit
