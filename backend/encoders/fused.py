"""A trained fusion head as an encoder: its fused vectors, on which the loop fits its probe after every label.

The folder is that of any trained model: ``head.safetensors`` is the last layer as a probe, ``fusion.*`` the layers
before it, and ``encoder.json`` names the encoder of both towers, which is not in the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .base import Encoder, EncoderSpec, FloatMatrix
from .fusion import WEIGHTS_FILE, FusionHead
from .multimodal import MultimodalEncoder, TowerVectors

FUSED_FILE = "fused.json"
"""What the encoder of both towers was loaded with."""


class FusedEncoder(MultimodalEncoder):
    """Encodes contents as what the last layer of a fusion head reads. See Encoder."""

    def __init__(self, name: str, base: MultimodalEncoder, head: FusionHead, digest: str) -> None:
        super().__init__(name, base.text, base.image, base.rules, None, shared=False)
        self._base, self._head, self._digest = base, head, digest
        self.dimension = head.width
        self.fingerprint = (
            f"fused-{hashlib.blake2b(f'{base.fingerprint} {digest}'.encode(), digest_size=12).hexdigest()}"
        )

    @override
    def for_requests(self) -> FusedEncoder:
        return FusedEncoder(self.name, self._base.for_requests(), self._head, self._digest)

    def towers(self, texts: Sequence[Readable]) -> TowerVectors:
        """See MultimodalEncoder: those of the encoder below, which keeps them."""
        return self._base.towers(texts)

    @override
    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        return self._head.fused(self.towers(texts))

    def encode_labels(self, texts: Sequence[str]) -> FloatMatrix:
        """See MultimodalEncoder. The head has learned more than labels' words could tell."""
        return self.encode(texts)


def is_fused(folder: Path) -> bool:
    """Whether the model in ``folder`` is a fusion head."""
    return (folder / FUSED_FILE).is_file()


def fused_on(folder: Path) -> str:
    """The encoder that the head in ``folder`` was trained on. Raises LearningError."""
    return str(_facts(folder)["encoder"])


def load_fused(spec: EncoderSpec, load: Callable[[EncoderSpec], Encoder]) -> FusedEncoder:
    """The encoder in the folder that ``spec`` names; ``load`` loads the one below, as ``spec`` says.

    Raises LearningError if it can't be read, or the encoder below is another one now.
    """
    folder = Path(spec.name)
    facts = _facts(folder)
    base = load(replace(spec, name=facts["encoder"], max_length=facts["max_length"]))
    if not isinstance(base, MultimodalEncoder) or base.fingerprint != facts["fingerprint"]:
        raise LearningError(
            f"{folder} was trained on the vectors of {facts['encoder']} ({facts['fingerprint']}), which makes others "
            f"now ({base.fingerprint}): another version of it, or another kind of device; train again"
        )
    digest = hashlib.blake2b((folder / WEIGHTS_FILE).read_bytes(), digest_size=8).hexdigest()
    return FusedEncoder(str(folder), base, FusionHead.load(folder), digest)


def _facts(folder: Path) -> dict[str, Any]:
    file = folder / FUSED_FILE
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return {name: facts[name] for name in ("encoder", "fingerprint", "max_length")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LearningError(f"{file} can't be read: {error}; train the head again") from error
