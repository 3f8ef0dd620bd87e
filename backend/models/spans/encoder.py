"""Encoders as the loop uses them for spans: a vector for every unit, of them one for the text, and where they are kept.

Token vectors are taken from the middle layer of a model. The last layers of sentence encoders serve the one vector of
the text: on restaurant8k a probe found spans with F1 0.80 from layer 3 of MiniLM's 6 and 0.70 from its last, and the
layers above need not be computed. Of an encoder that was trained on tokens the last layer may be the better one: which,
its training finds out on held-out texts, and LAYER_FILE says. ``hashing`` needs no model, for tests and tiny installs.

On disk the units of every text lie beside the one vector that EmbeddingCache keeps, so that a text is read once and a
pool of them fits in bounded memory::

    units   a row a unit: its bounds (two int32) and its vector (float16)
    ends    a row per text: how many units there are up to its last one (int64)

A text of 15 units takes 12 kB with MiniLM. They are written and flushed before the text's vector and key, and count
once the key is whole: what holds for the files of the embedding cache holds for these.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.encoders.base import HASHING, Encoder, EncoderSpec, FloatMatrix, need
from nextlabel.backend.encoders.cache import CacheFiles, EmbeddingCache, Rows
from nextlabel.backend.encoders.hashing import projection
from nextlabel.backend.encoders.model_folder import ModelFolder, find_model
from nextlabel.backend.encoders.multimodal import is_multimodal
from nextlabel.backend.encoders.torch import load_body
from nextlabel.backend.files import append_bytes, write_atomically
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import ConfigError, LearningError

from .kinds import parted
from .model import SpanTokeniser, best_device, run_windows, takes_types, units
from .tagging import IntArray

Layer: TypeAlias = Literal["middle", "last"]
LAYER_FILE = "tokens.json"
UNITS = "u2"  # raised whenever the same text would be cut into other units
FEATURES = 2**15
DIMENSION = 128
CHARACTERS = 20_000  # of a text that hashing looks at
END_BYTES = 8
_WORD: Final = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """One text: ``bounds`` int64 [u, 2] of its units in characters, ``vectors`` float16 [u, d] of length 1."""

    bounds: IntArray
    vectors: npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class TokenStack:
    """Many texts, their units one after the other: those of text i are the rows ``starts[i]`` to ``starts[i + 1]``.

    ``bounds`` int64 [u, 2] and ``vectors`` float16 [u, d] as in TokenVectors, ``starts`` int64 [texts + 1].
    """

    bounds: IntArray
    vectors: npt.NDArray[np.float16]
    starts: IntArray

    @classmethod
    def of(cls, texts: Sequence[TokenVectors], dimension: int) -> TokenStack:
        """The units of ``texts``, with vectors of ``dimension``."""
        counts = [len(one.bounds) for one in texts]
        return cls(
            np.concatenate([np.empty((0, 2), np.int64), *(one.bounds for one in texts)]),
            np.concatenate([np.empty((0, dimension), np.float16), *(one.vectors for one in texts)]),
            np.cumsum([0, *counts], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def texts(self) -> list[TokenVectors]:
        """Each text for itself; views, no copies."""
        edges = zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        return [TokenVectors(self.bounds[start:end], self.vectors[start:end]) for start, end in edges]

    def means(self) -> npt.NDArray[np.float32]:
        """A vector for each text as a whole, float32 [texts, d] of length 1; one and the same for those of no unit."""
        sums = np.zeros((len(self), self.vectors.shape[1]), np.float32)
        held = np.diff(self.starts) > 0
        if held.any():
            sums[held] = np.add.reduceat(self.vectors, self.starts[:-1][held], axis=0, dtype=np.float32)
        means = unit_rows(sums)
        means[~means.any(axis=1)] = sums.shape[1] ** -0.5
        return means


class SpanEncoder(ABC):
    """Fulfils Encoder, and says what every unit of a text is beside. Safe to share between threads."""

    name: str
    dimension: int
    fingerprint: str

    @abstractmethod
    def tokens(self, texts: Sequence[Readable]) -> TokenStack:
        """The units of every text, in its characters. Any text is fine; one without a token has none."""

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder: the mean of a text's token vectors."""
        return self.tokens(texts).means()


class TokenEncoder(SpanEncoder):
    """Token vectors of a model of transformers. Contexts are read beside their texts."""

    def __init__(self, folder: ModelFolder, cache: Path) -> None:
        whole = layer_of(folder.path) == "last"
        self._network = load_body(folder, middle=not whole).to(best_device())
        self._tokenise = SpanTokeniser(folder, fine=True)
        self._types = takes_types(self._network.config)
        self.name = folder.name
        self.dimension = folder.width
        self.fingerprint = f"{folder.digest(cache)}-{folder.max_length}-{'last' if whole else ''}tokens-{UNITS}"

    @override
    def tokens(self, texts: Sequence[Readable]) -> TokenStack:
        tokenised = self._tokenise(texts)
        found = run_windows(
            self._network, lambda output: output.last_hidden_state, tokenised, self.dimension, types=self._types
        )
        for rows in found:
            rows[~np.isfinite(rows).all(axis=1)] = 0  # a unit that the network has nothing to say of
        vectors = [unit_rows(rows).astype(np.float16) for rows in found]
        return TokenStack.of(list(map(TokenVectors, (one.bounds for one in tokenised), vectors)), self.dimension)


def layer_of(folder: Path) -> Layer:
    """The layer that token vectors of the model in ``folder`` are taken from."""
    try:
        told = json.loads((folder / LAYER_FILE).read_bytes())["layer"]
    except (OSError, ValueError, TypeError, KeyError):
        return "middle"
    return "last" if told == "last" else "middle"


def set_layer(folder: Path, layer: Layer) -> None:
    """Have token vectors of the model in ``folder`` taken from ``layer`` from now on."""
    write_atomically(folder / LAYER_FILE, json.dumps({"layer": layer}).encode())


class HashedTokens(SpanEncoder):
    """Token vectors without a model: words, their beginnings, ends and shapes, hashed and projected at random.

    Contexts are not read.
    """

    name = HASHING
    dimension = DIMENSION
    fingerprint = f"hashing-{FEATURES}-{DIMENSION}-tokens-{UNITS}"

    def __init__(self) -> None:
        from sklearn.feature_extraction import FeatureHasher

        self._hasher = FeatureHasher(FEATURES, input_type="string", dtype=np.float32)
        self._projection = projection(FEATURES, DIMENSION)

    @override
    def tokens(self, texts: Sequence[Readable]) -> TokenStack:
        plain = [text_of(text) for text in texts]
        bounds = [_word_units(text) for text in plain]
        words = [
            _features(text[start:end])
            for text, places in zip(plain, bounds, strict=True)
            for start, end in places.tolist()
        ]
        vectors: npt.NDArray[np.float16] = np.empty((0, DIMENSION), np.float16)
        if words:
            vectors = unit_rows(self._hasher.transform(words) @ self._projection).astype(np.float16)
        starts = np.cumsum([0, *map(len, bounds)])
        return TokenStack(np.concatenate([np.empty((0, 2), np.int64), *bounds]), vectors, starts)


def _word_units(text: str) -> IntArray:
    bounds, unit_of = units(text, [word.span() for word in _WORD.finditer(text[:CHARACTERS])])
    return parted(text, bounds, np.flatnonzero(unit_of >= 0))[0]


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


def load_span_encoder(spec: EncoderSpec, threads: int | None = None) -> SpanEncoder:
    """An encoder as ``encoders.load`` does, but run by torch for its token vectors, and without a prompt.

    Raises EncoderNotFound, LearningError (a model that can't be used), MissingExtra, ConfigError.
    """
    if spec.name == HASHING:
        return HashedTokens()
    if is_multimodal(spec.name):
        raise ConfigError(
            f"the encoder {spec.name} reads images; spans are marked in text, so choose one of text alone"
        )
    need("torch", "transformers")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return TokenEncoder(find_model(spec.name, max_length=spec.max_length, cache=spec.cache), spec.cache)


class TokenFiles(CacheFiles):
    """The files of an embedding cache, and the two beside them."""

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        self._unit = np.dtype([("bounds", "<i4", (2,)), ("vector", "<f2", (dimension,))])
        self._units, self._ends = folder / "units", folder / "ends"
        super().__init__(folder, fingerprint, dimension)

    def append_units(self, stack: TokenStack) -> None:
        """Add the units of texts whose vectors and keys are appended next. Call it inside ``writing()``."""
        count = self.count()
        before = int(self.ends(count)[-1]) if count else 0
        rows = np.empty(len(stack.bounds), self._unit)
        rows["bounds"], rows["vector"] = stack.bounds, stack.vectors
        append_bytes(self._units, memoryview(rows.tobytes()), flush=True)
        ends = np.asarray(before + stack.starts[1:], "<i8")
        append_bytes(self._ends, memoryview(ends.tobytes()), flush=True)

    def ends(self, count: int) -> npt.NDArray[np.int64]:
        """The ends of the first ``count`` texts, int64 [count], mapped read-only."""
        return np.memmap(self._ends, "<i8", "r", shape=(count,)) if count else np.empty(0, np.int64)

    def units(self, count: int) -> npt.NDArray[Any]:
        """The first ``count`` units, mapped read-only: ``bounds`` int32 [count, 2], ``vector`` float16 [count, d]."""
        return np.memmap(self._units, self._unit, "r", shape=(count,)) if count else np.empty(0, self._unit)

    @override
    def _sizes(self, count: int) -> dict[Path, int]:
        units = int(self.ends(count)[-1]) if count else 0
        beside = {self._ends: count * END_BYTES, self._units: units * self._unit.itemsize}
        return super()._sizes(count) | beside


class TokenCache(EmbeddingCache):
    """An embedding cache that keeps every unit's vector beside the text's. ``rows`` mean the same in both."""

    FILES = TokenFiles
    _files: TokenFiles

    def __init__(self, folder: str | Path, fingerprint: str, dimension: int) -> None:
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._units: npt.NDArray[Any] = np.empty(0)
        super().__init__(folder, fingerprint, dimension)

    def tokens(self, rows: Rows) -> TokenStack:
        """The units of the texts in ``rows`` (int64 [k], none negative), in this order."""
        if len(rows) and rows.min() < 0:
            raise IndexError("a row is -1: its text is not in the cache")
        ends, units = self._mapped_units()
        stops = ends[rows]
        firsts = np.where(rows > 0, ends[np.maximum(rows, 1) - 1], 0)
        starts = np.concatenate([[0], np.cumsum(stops - firsts)])
        if len(rows) and (rows[1:] == rows[:-1] + 1).all():
            taken = units[firsts[0] : stops[-1]]
        else:
            taken = units[np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], stops - firsts)]
        return TokenStack(taken["bounds"].astype(np.int64), taken["vector"], starts)

    def _mapped_units(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        with self._lock:
            if len(self._ends) != len(self) or not len(self):
                self._ends = self._files.ends(len(self))
                self._units = self._files.units(int(self._ends[-1]) if len(self) else 0)
            return self._ends, self._units

    @override
    def _read(self, texts: list[Readable], encoder: Encoder) -> FloatMatrix:
        if not isinstance(encoder, SpanEncoder):
            raise LearningError(f"{encoder.name} makes one vector per text; spans need one for every token")
        stack = encoder.tokens(texts)
        self._files.append_units(stack)
        return stack.means()
