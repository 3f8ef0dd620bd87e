"""Token vectors on disk: every text is read once, and a pool of them fits in bounded memory.

Beside the one vector of each text, which EmbeddingCache keeps, lie its units::

    units   a row a unit: its bounds (two int32) and its vector (float16)
    ends    a row per text: how many units there are up to its last one (int64)

A text of 15 units takes 12 kB with MiniLM. They are written and flushed before the text's vector and key, and count
once the key is whole: what holds for the files of the embedding cache holds for these.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.cache import CacheFiles, EmbeddingCache, Rows, append_bytes, size_of
from nextlabel.connectors.errors import LearningError

from .encoder import SpanEncoder
from .token_vectors import TokenStack

END_BYTES = 8


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
        try:
            append_bytes(self._units, memoryview(rows.tobytes()), flush=True)
            ends = np.asarray(before + stack.starts[1:], "<i8")
            append_bytes(self._ends, memoryview(ends.tobytes()), flush=True)
        except OSError:
            self._cut(count)
            raise

    def ends(self, count: int) -> npt.NDArray[np.int64]:
        """The ends of the first ``count`` texts, int64 [count], mapped read-only."""
        return np.memmap(self._ends, "<i8", "r", shape=(count,)) if count else np.empty(0, np.int64)

    def units(self, count: int) -> npt.NDArray[Any]:
        """The first ``count`` units, mapped read-only: ``bounds`` int32 [count, 2], ``vector`` float16 [count, d]."""
        return np.memmap(self._units, self._unit, "r", shape=(count,)) if count else np.empty(0, self._unit)

    def _cut(self, count: int) -> None:
        super()._cut(count)
        units = int(self.ends(count)[-1]) if count else 0
        for file, size in ((self._ends, count * END_BYTES), (self._units, units * self._unit.itemsize)):
            if size_of(file) > size:
                os.truncate(file, size)


class TokenCache(EmbeddingCache):
    """An embedding cache that keeps every unit's vector beside the text's. ``rows`` mean the same in both."""

    _files: TokenFiles

    def __init__(self, folder: str | Path, fingerprint: str, dimension: int) -> None:
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._units: npt.NDArray[Any] = np.empty(0)
        super().__init__(folder, fingerprint, dimension)

    def _open_files(self, folder: Path) -> CacheFiles:
        return TokenFiles(folder, self.fingerprint, self.dimension)

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

    def _add(self, texts: list[str], keys: bytes, encoder: Encoder) -> None:
        if not isinstance(encoder, SpanEncoder):
            raise LearningError(f"{encoder.name} makes one vector per text; spans need one for every token")
        stack = encoder.tokens(texts)
        self._files.append_units(stack)
        self._append(stack.means(), keys, encoder)
