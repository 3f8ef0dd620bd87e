"""An encoder that counts, for the tests of the embedding cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.connectors.content import Readable

HASHING = load_encoder("hashing")


class Counting:
    """The hashing encoder, counting what it is asked to encode."""

    name, fingerprint, dimension = HASHING.name, HASHING.fingerprint, HASHING.dimension

    def __init__(self) -> None:
        self.encoded: list[Readable] = []

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        self.encoded += texts
        return HASHING.encode(texts)


def assert_right(cache: EmbeddingCache, texts: Sequence[str], rows: npt.NDArray[np.int64]) -> None:
    np.testing.assert_allclose(cache.take(rows), HASHING.encode(texts), atol=5e-4)
