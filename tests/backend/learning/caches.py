"""An encoder that counts, for the tests of the embedding cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.learning import cache as cache_module
from nextlabel.backend.learning.cache import EmbeddingCache
from nextlabel.backend.learning.encoders import FloatMatrix, load_encoder

HASHING = load_encoder("hashing")


@pytest.fixture(scope="module", autouse=True)
def fresh_lookups() -> Iterator[None]:
    """Look at the files at every lookup."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "REFRESH_SECONDS", -1)
        yield


class Counting:
    """The hashing encoder, counting what it is asked to encode."""

    name, fingerprint, dimension = HASHING.name, HASHING.fingerprint, HASHING.dimension

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        self.encoded += texts
        return HASHING.encode(texts)


def assert_right(cache: EmbeddingCache, texts: Sequence[str], rows: npt.NDArray[np.int64]) -> None:
    np.testing.assert_allclose(cache.take(rows), HASHING.encode(texts), atol=5e-4)
