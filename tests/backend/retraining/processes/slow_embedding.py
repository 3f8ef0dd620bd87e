"""The process that encodes, with the encoder of the tests' trained models in it (Trained in conftest), made slow.

A module of its own, alone in its folder: another process finds no package called ``tests``.

``DAWDLE`` seconds a text; a file called ``broken`` in the model's folder makes it fail.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.training import worker
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

DAWDLE = 0.01


class Slow:
    def __init__(self, folder: Path) -> None:
        self._hashing = load_encoder("hashing")
        self.name = self.fingerprint = folder.name
        self.dimension = self._hashing.dimension

    def encode(self, texts: Sequence[Readable]) -> npt.NDArray[np.float32]:
        time.sleep(DAWDLE * len(texts))
        return -self._hashing.encode(texts)


def load(spec: EncoderSpec, **_: Any) -> Slow:
    if (Path(spec.name) / "broken").exists():
        raise LearningError("the weights are damaged")
    return Slow(Path(spec.name))


if __name__ == "__main__":
    worker.load = load  # type: ignore[attr-defined]
    sys.exit(worker.main(sys.argv[1:]))
