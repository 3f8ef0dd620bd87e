"""Encoders as the loop uses them for spans: a vector for every unit, of them one for the text, and the way to load one.

A text may hold its context (connectors/content.py). ``hashing`` needs no model, for tests and tiny installs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import HASHING, FloatMatrix
from nextlabel.backend.encoders.hashing import projection
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.encoders.multimodal import is_multimodal
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import read_beside
from nextlabel.connectors.errors import ConfigError, MissingExtra

from .token_vectors import TokenEncoder, TokenStack, TokenVectors
from .tokens import units

FEATURES = 2**15
DIMENSION = 128
CHARACTERS = 20_000  # of a text that hashing looks at
_WORD: Final = re.compile(r"\w+|[^\w\s]")


class Tokens(Protocol):
    """What turns texts into token vectors: token_vectors.TokenEncoder, or HashedTokens."""

    dimension: int
    fingerprint: str

    def encode(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[TokenVectors]:
        """Units and vectors of every text. Any text is fine; one without a token has none."""
        ...


class SpanEncoder:
    """Fulfils Encoder, and says what every unit of a text is beside. Safe to share between threads."""

    def __init__(self, name: str, tokens: Tokens) -> None:
        self.name = name
        self.dimension = tokens.dimension
        self.fingerprint = tokens.fingerprint
        self._tokens = tokens

    def tokens(self, texts: Sequence[str]) -> TokenStack:
        """The units of every text, in characters of what ``content.read_beside`` says is the text."""
        parts = [read_beside(text) for text in texts]
        found = self._tokens.encode([text for text, _ in parts], [context for _, context in parts])
        return TokenStack.of(found, self.dimension)

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """See Encoder: the mean of a text's token vectors."""
        return self.tokens(texts).means()


class HashedTokens:
    """Token vectors without a model: words, their beginnings, ends and shapes, hashed and projected at random."""

    dimension = DIMENSION
    fingerprint = f"hashing-{FEATURES}-{DIMENSION}-tokens-v1"

    def __init__(self) -> None:
        from sklearn.feature_extraction import FeatureHasher

        self._hasher = FeatureHasher(FEATURES, input_type="string", dtype=np.float32)
        self._projection = projection(FEATURES, DIMENSION)

    def encode(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[TokenVectors]:
        """Units and vectors of every text; contexts are not read."""
        bounds = [units(text, [word.span() for word in _WORD.finditer(text[:CHARACTERS])])[0] for text in texts]
        words = [
            _features(text[start:end])
            for text, places in zip(texts, bounds, strict=True)
            for start, end in places.tolist()
        ]
        vectors: npt.NDArray[np.float16] = np.empty((0, DIMENSION), np.float16)
        if words:
            vectors = unit_rows(self._hasher.transform(words) @ self._projection).astype(np.float16)
        starts = np.cumsum([0, *map(len, bounds)])
        return TokenStack(np.concatenate([np.empty((0, 2), np.int64), *bounds]), vectors, starts).texts()


def _features(word: str) -> Iterator[str]:
    word = word.encode("utf-8", "replace").decode("utf-8")  # lone surrogates can't be hashed
    lower = word.casefold()
    yield f"word={lower}"
    yield f"begins={lower[:3]}"
    yield f"ends={lower[-3:]}"
    yield f"shape={''.join(map(_shape, word[:6]))}"


def _shape(character: str) -> str:
    if character.isdigit():
        return "0"
    return "A" if character.isupper() else "a" if character.isalpha() else character


def load_span_encoder(name: str, *, max_length: int | None, cache_dir: Path, threads: int | None = None) -> SpanEncoder:
    """The encoder called ``name`` as in ``load_encoder``, run by torch for its token vectors.

    Raises EncoderNotFound, LearningError (a model that can't be used), MissingExtra, ConfigError.
    """
    if name == HASHING:
        return SpanEncoder(name, HashedTokens())
    if is_multimodal(name):
        raise ConfigError(f"the encoder {name} reads images; spans are marked in text, so choose one of text alone")
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train") from None

    if threads is not None:
        torch.set_num_threads(threads)
    folder = find_model(name, max_length=max_length)
    return SpanEncoder(name, TokenEncoder(folder, cache_dir, memory=0))  # the cache on disk remembers
