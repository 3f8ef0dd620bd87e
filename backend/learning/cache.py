"""The embedding cache: every text is encoded once, and a million vectors are there at the next start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from nextlabel.backend.learning.cache_files import CacheFiles, HalfMatrix
from nextlabel.backend.learning.digest_index import DIGEST_BYTES, DigestIndex, Rows, digests
from nextlabel.backend.learning.encoders import Encoder, FloatMatrix
from nextlabel.backend.mapped import Reader
from nextlabel.connectors.errors import LearningError, StoreError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (texts done, texts in all); 0 in all when the number isn't known."""

WINDOW_TEXTS = 4096  # texts looked at together: sorted by length, each encoded once
WINDOW_CHARACTERS = 16_000_000
SMALLEST_CHUNK = 32  # texts encoded between two flushes, adapted to take about CHUNK_SECONDS
CHUNK_SECONDS = 1.0
PAUSE_SECONDS = 0.001  # between two turns; the one who has just let go of a lock would win it again
REFRESH_SECONDS = 1.0  # how old a lookup may be; looking at the files each time costs more than the lookup


class EmbeddingCache:
    """Vectors of texts on disk, float16, found by the text.

    ``folder`` belongs to one encoder, told by ``fingerprint``. Any number of threads and processes may read;
    writers take turns of about a second and take over what the others have encoded. Killed at any moment, at
    most the work of its last turn is lost.

    Raises LearningError if the folder holds another encoder's vectors, StoreFull and StoreError from the disk.
    """

    def __init__(self, folder: str | Path, fingerprint: str, dimension: int) -> None:
        self.fingerprint = fingerprint
        self.dimension = dimension
        self._files = self._open_files(Path(folder))
        self._index = DigestIndex()
        self._lock = threading.RLock()  # around the index and the mapping
        self._mapped: HalfMatrix = self._files.matrix(0)
        self._refreshed = 0.0
        self._reader = Reader()
        self.refresh()

    @classmethod
    def open(cls, root: str | Path, encoder: Encoder) -> EmbeddingCache:
        """The cache of ``encoder`` in its own folder under ``root``."""
        return cls(Path(root) / encoder.fingerprint, encoder.fingerprint, encoder.dimension)

    def _open_files(self, folder: Path) -> CacheFiles:
        return CacheFiles(folder, self.fingerprint, self.dimension)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._files.folder

    @property
    def matrix(self) -> HalfMatrix:
        """All rows so far, float16 [rows, dimension], memory-mapped and read-only."""
        with self._lock:
            if len(self._mapped) != len(self._index):
                self._mapped = self._files.matrix(len(self._index))
            return self._mapped

    def take(self, rows: Rows) -> FloatMatrix:
        """The vectors of ``rows`` (int64 [k], none negative), float32 [k, dimension]."""
        if len(rows) and rows.min() < 0:
            raise IndexError("a row is -1: its text is not in the cache")
        matrix = self.matrix
        taken: FloatMatrix = matrix[rows].astype(np.float32)
        self._reader.read(matrix, len(rows))
        return taken

    def lookup(self, texts: Sequence[str]) -> Rows:
        """Row of every text, int64 [n], -1 where it has not been encoded yet. Never encodes.

        What another process added in the last second may not be found yet.
        """
        wanted = digests(texts)
        with self._lock:
            rows = self._index.find(wanted)
            stale = time.monotonic() - self._refreshed > REFRESH_SECONDS
            if stale and (rows < 0).any() and self.refresh():
                rows = self._index.find(wanted)
        return rows

    def refresh(self) -> int:
        """Take in rows that other processes have added; return how many."""
        with self._lock:
            known, count = len(self._index), self._files.count()
            if count < known:
                raise StoreError(f"{self._files.folder} was removed or replaced while in use; start again")
            self._index.extend(self._files.keys(known, count))
            self._refreshed = time.monotonic()
            return count - known

    def ensure(
        self, texts: Iterable[str], encoder: Encoder, progress: Progress | None = None, *, total: int | None = None
    ) -> Rows:
        """Encode what is missing and return the row of every text, int64 [n].

        ``texts`` may be a generator: only a window of it is held in memory. ``total`` is its length, where it
        can't say so itself; it only serves ``progress``, which is called after every flush.
        """
        if encoder.fingerprint != self.fingerprint:
            raise LearningError(
                f"this cache holds vectors of {self.fingerprint}, the encoder makes {encoder.fingerprint}"
            )
        if total is None:
            total = len(texts) if isinstance(texts, Sequence) else 0
        found: list[Rows] = []
        done, chunk = 0, SMALLEST_CHUNK
        for window in _windows(texts):
            report = _Report(progress, done, total)
            rows, chunk = self._ensure_window(window, encoder, report, chunk)
            found.append(rows)
            done += len(window)
            report(len(window))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _ensure_window(self, texts: list[str], encoder: Encoder, report: _Report, chunk: int) -> tuple[Rows, int]:
        """The rows of one window, and the chunk size that has proved right."""
        wanted = digests(texts)
        with self._lock:
            self.refresh()
            rows = self._index.find(wanted)
        missing = {wanted[place]: texts[place] for place in np.flatnonzero(rows < 0)}
        # Like lengths together: a batch is only as fast as its longest text.
        queue = sorted(missing, key=lambda digest: len(missing[digest]), reverse=True)
        while queue:
            started = time.monotonic()
            batch, queue = queue[:chunk], queue[chunk:]
            self._encode(batch, missing, encoder)
            report(len(texts) - len(queue))
            time.sleep(PAUSE_SECONDS)
            chunk = _adapted(chunk, time.monotonic() - started)
        if missing:
            with self._lock:
                rows = self._index.find(wanted)
        return rows, chunk

    def _encode(self, batch: list[bytes], texts: dict[bytes, str], encoder: Encoder) -> None:
        """Encode and append the texts of ``batch`` that no other writer has added in the meantime."""
        with self._files.writing():
            with self._lock:
                self.refresh()
                rows = self._index.find(batch)
            left = [digest for digest, row in zip(batch, rows, strict=True) if row < 0]
            if not left:
                return
            self._add([texts[digest] for digest in left], b"".join(left), encoder)
        self.refresh()

    def _add(self, texts: list[str], keys: bytes, encoder: Encoder) -> None:
        """Encode ``texts`` and append them with their ``keys``."""
        self._append(encoder.encode(texts), keys, encoder)

    def _append(self, vectors: FloatMatrix, keys: bytes, encoder: Encoder) -> None:
        if vectors.shape != (len(keys) // DIGEST_BYTES, self.dimension) or not np.isfinite(vectors).all():
            raise LearningError(f"{encoder.name} returned {vectors.shape} or values that are not finite")
        self._files.append(vectors.astype(np.float16), keys)


class _Report:
    """Progress inside one window, told in texts of the whole."""

    def __init__(self, progress: Progress | None, before: int, total: int) -> None:
        self._progress, self._before, self._total, self._last = progress, before, total, -1

    def __call__(self, done: int) -> None:
        if self._progress is not None and done != self._last:
            self._progress(self._before + done, self._total)
            self._last = done


def _adapted(chunk: int, seconds: float) -> int:
    if seconds < CHUNK_SECONDS / 2:
        return min(chunk * 2, WINDOW_TEXTS)
    return max(chunk // 2, SMALLEST_CHUNK) if seconds > CHUNK_SECONDS * 2 else chunk


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    window: list[str] = []
    characters = 0
    for text in texts:
        window.append(text)
        characters += len(text)
        if len(window) >= WINDOW_TEXTS or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
