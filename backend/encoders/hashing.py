"""An encoder without a model: hashed words and letter groups, projected at random. For tests and tiny installs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache

import numpy as np

from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, text_of

from .base import HASHING, FloatMatrix
from .tokenizer import clean_text

FEATURES = 2**15
DIMENSION = 256
CHARACTERS = 20_000  # of a text that are looked at


class HashingEncoder:
    """Feature hashing (Weinberger et al. 2009) followed by a fixed random projection (Johnson & Lindenstrauss 1984).

    Texts with many words in common get like vectors; meaning is out of its reach.
    """

    name = HASHING
    dimension = DIMENSION
    fingerprint = f"hashing-{FEATURES}-{DIMENSION}-v1"

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self._words = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), dtype=np.float32)
        self._projection = projection(FEATURES, DIMENSION)
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        if not texts:
            return np.empty((0, DIMENSION), dtype=np.float32)
        hashed = self._words.transform([clean_text(text_of(text)[:CHARACTERS]) for text in texts])
        vectors = unit_rows(hashed @ self._projection)
        vectors[~vectors.any(axis=1)] = DIMENSION**-0.5  # a text without words: one place for all of them
        return vectors


@cache
def projection(features: int, dimension: int) -> FloatMatrix:
    """float32 [features, dimension]: always the same, made once a process (tens of MB, 0.2 s), not to be written to."""
    # RandomState's streams are promised never to change between versions of numpy.
    matrix = np.random.RandomState(20261122).standard_normal((features, dimension)).astype(np.float32)
    matrix.flags.writeable = False
    return matrix
