"""The embedding cache: every text is encoded once, and a million vectors are there at the next start.

``vectors.f16``  rows of float16, one after the other
``keys``         16 bytes per row: the digest of its text
``meta.json``    which encoder they are from; written once
``lock``         held by the one who appends
``use``          held, by all together, by those who have the cache open; rows are taken out when nobody has

Rows are written and flushed to the disk before their keys are written, and a row counts once its key is whole. So
after a crash at any point the counted rows are good, and the next writer cuts off what is beyond them. The keys
themselves are left to the system to flush: a power cut may cost the last of them, which only means encoding
again. Readers take no lock. An index from digests to row numbers holds a million entries in 24 MB. What was read of a
mapped matrix counts as memory of the process until it is let go.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.files import Reader, append_bytes, exclusive, readable_errors, size_of, write_atomically
from nextlabel.connectors.content import Readable, cache_key
from nextlabel.connectors.errors import LearningError, StoreError

from .base import Encoder, FloatMatrix, reads_images
from .cache_use import DIGEST_BYTES, InUse

FORMAT = 1
HalfMatrix = npt.NDArray[np.float16]
RECENT = 65_536  # entries kept in a dict before they are sorted in; a dict of a million would take 150 MB
Rows = npt.NDArray[np.int64]
Halves = npt.NDArray[np.uint64]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with (texts done, texts in all); 0 in all when the number isn't known."""
WINDOW_TEXTS = 4096  # texts looked at together: sorted by length, each encoded once
WINDOW_CHARACTERS = 16_000_000
SMALLEST_CHUNK = 32  # texts encoded between two flushes, adapted to take about CHUNK_SECONDS
CHUNK_SECONDS = 1.0
PAUSE_SECONDS = 0.001  # between two turns; the one who has just let go of a lock would win it again
REFRESH_SECONDS = 1.0  # how old a lookup may be; looking at the files each time costs more than the lookup


class CacheFiles:
    """Appends whole rows, reads whole rows. ``dimension`` is the length of a row."""

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        self.folder = folder
        self.dimension = dimension
        self._row_bytes = dimension * 2
        self._vectors = folder / "vectors.f16"
        self._keys = folder / "keys"
        self._guard = threading.Lock()  # between threads; the file lock is between processes
        with self._readable_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._use = InUse(folder)
            self._check_meta(fingerprint)

    def _check_meta(self, fingerprint: str) -> None:
        file = self.folder / "meta.json"
        wanted = {"format": FORMAT, "fingerprint": fingerprint, "dimension": self.dimension}
        if not file.exists():
            write_atomically(file, json.dumps(wanted, indent=1).encode())
            return
        try:
            found: Any = json.loads(file.read_bytes())
        except ValueError:
            found = None
        if found != wanted:
            raise LearningError(
                f"{self.folder} holds vectors of {found}, not of {wanted}; give every encoder a folder of its own, "
                "or remove this one to encode everything again"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer, waiting for the one before. Cuts off what a crashed writer left half-done.

        What fails on the disk meanwhile leaves whole rows only. Raises StoreError, and StoreFull where that is why.
        """
        with self._guard, self._readable_errors(), exclusive(self.folder / "lock"):
            self._cut(self.count())
            try:
                yield
            except OSError:
                self._cut(self.count())
                raise

    def count(self) -> int:
        """How many rows are whole."""
        return min(size_of(self._vectors) // self._row_bytes, size_of(self._keys) // DIGEST_BYTES)

    def keys(self, start: int, stop: int) -> bytes:
        """The digests of rows ``start`` to ``stop``."""
        if stop <= start:
            return b""
        with self._keys.open("rb") as stream:
            stream.seek(start * DIGEST_BYTES)
            return stream.read((stop - start) * DIGEST_BYTES)

    def matrix(self, count: int) -> HalfMatrix:
        """The first ``count`` rows, float16 [count, dimension], mapped read-only."""
        if count == 0:
            return np.empty((0, self.dimension), dtype=np.float16)
        return np.memmap(self._vectors, dtype=np.float16, mode="r", shape=(count, self.dimension))

    def append(self, vectors: HalfMatrix, keys: bytes) -> None:
        """Add rows, inside ``writing()``. Where that fails, some of them may have been added, each of them whole."""
        append_bytes(self._vectors, np.ascontiguousarray(vectors).data.cast("B"), flush=True)
        append_bytes(self._keys, memoryview(keys), flush=False)

    def _sizes(self, count: int) -> dict[Path, int]:
        """How long each file is with ``count`` rows."""
        return {self._keys: count * DIGEST_BYTES, self._vectors: count * self._row_bytes}

    def _cut(self, count: int) -> None:
        """Cut off what is beyond ``count`` rows."""
        for file, size in self._sizes(count).items():
            if size_of(file) > size:
                os.truncate(file, size)

    def _readable_errors(self) -> AbstractContextManager[None]:
        return readable_errors(
            f"no space is left for the embedding cache in {self.folder}; what was encoded before is kept. "
            "Free some space and start again: it goes on where it was",
            f"the embedding cache in {self.folder} can't be used",
        )


def digests(texts: Iterable[Readable]) -> list[bytes]:
    """16 bytes of blake2b for every text; lone surrogates are hashed as they are."""
    return [hashlib.blake2b(cache_key(text), digest_size=DIGEST_BYTES).digest() for text in texts]


class DigestIndex:
    """Maps digests to rows 0, 1, 2 ... in the order in which they were added. Not thread-safe."""

    def __init__(self) -> None:
        self._high: Halves = np.empty(0, dtype=np.uint64)  # sorted
        self._low: Halves = np.empty(0, dtype=np.uint64)
        self._row: Rows = np.empty(0, dtype=np.int64)
        self._recent: dict[bytes, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, data: bytes) -> None:
        """Add digests, one after the other in ``data``. Of equal digests the first row is the one found."""
        if len(data) > RECENT * DIGEST_BYTES:
            self._merge(data)
            return
        for start in range(0, len(data), DIGEST_BYTES):
            self._recent.setdefault(data[start : start + DIGEST_BYTES], self._count)
            self._count += 1
        if len(self._recent) >= RECENT:
            self._merge(b"")

    def find(self, wanted: list[bytes]) -> Rows:
        """Row of every digest, int64 [len(wanted)], -1 where there is none."""
        rows = self._find_sorted(b"".join(wanted))
        if self._recent:
            for place in np.flatnonzero(rows < 0):
                rows[place] = self._recent.get(wanted[place], -1)
        return rows

    def _find_sorted(self, data: bytes) -> Rows:
        high, low = _halves(data)
        rows = np.full(len(high), -1, dtype=np.int64)
        if not len(self._high):
            return rows
        place = np.searchsorted(self._high, high)
        # Two digests may share a high half, so look on as long as it is equal: practically never twice.
        open_ = np.arange(len(high))
        while len(open_):
            inside = place[open_] < len(self._high)
            open_ = open_[inside]
            open_ = open_[self._high[place[open_]] == high[open_]]
            hit = self._low[place[open_]] == low[open_]
            rows[open_[hit]] = self._row[place[open_[hit]]]
            open_ = open_[~hit]
            place[open_] += 1
        return rows

    def _merge(self, data: bytes) -> None:
        new = np.arange(self._count, self._count + len(data) // DIGEST_BYTES, dtype=np.int64)
        high, low = _halves(b"".join(self._recent) + data)
        row = np.concatenate([np.fromiter(self._recent.values(), dtype=np.int64, count=len(self._recent)), new])
        self._count += len(new)
        self._recent.clear()
        high, low, row = (np.concatenate(pair) for pair in ((self._high, high), (self._low, low), (self._row, row)))
        order = np.lexsort((row, low, high))
        self._high, self._low, self._row = high[order], low[order], row[order]


def _halves(data: bytes) -> tuple[Halves, Halves]:
    pairs = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
    return pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)


class EmbeddingCache:
    """Vectors of texts on disk, float16, found by the text.

    ``folder`` belongs to one encoder, told by ``fingerprint``. Any number of threads and processes may read;
    writers take turns of about a second and take over what the others have encoded. Killed at any moment, at
    most the work of its last turn is lost.

    Raises LearningError if the folder holds another encoder's vectors, StoreFull and StoreError from the disk.
    """

    FILES: ClassVar[type[CacheFiles]] = CacheFiles

    def __init__(self, folder: str | Path, fingerprint: str, dimension: int) -> None:
        self.fingerprint = fingerprint
        self.dimension = dimension
        self._files = self.FILES(Path(folder), fingerprint, dimension)
        self._index = DigestIndex()
        self._lock = threading.RLock()  # around the index and the mapping
        self._mapped: HalfMatrix = self._files.matrix(0)
        self._refreshed = 0.0
        self._reader = Reader()
        self.refresh()

    @classmethod
    def open(cls, root: str | Path, encoder: Encoder) -> Self:
        """The cache of ``encoder`` in its own folder under ``root``."""
        return cls(Path(root) / encoder.fingerprint, encoder.fingerprint, encoder.dimension)

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

    def vectors(self, texts: Sequence[Readable], encoder: Encoder, progress: Progress | None = None) -> FloatMatrix:
        """Vectors of all ``texts``, float32 [n, dimension]; what is missing is encoded.

        Raises LearningError where a picture can't be read.
        """
        rows = self.ensure(texts, encoder, progress)
        if missing := int((rows < 0).sum()):
            raise LearningError(f"{missing} of {len(rows)} records have a picture that can't be read: leave them out")
        return self.take(rows)

    def take(self, rows: Rows) -> FloatMatrix:
        """The vectors of ``rows`` (int64 [k], none negative), float32 [k, dimension]."""
        if len(rows) and rows.min() < 0:
            raise IndexError("a row is -1: its text is not in the cache")
        matrix = self.matrix
        taken: FloatMatrix = matrix[rows].astype(np.float32)
        self._reader.read(matrix, len(rows))
        return taken

    def lookup(self, texts: Sequence[Readable]) -> Rows:
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
        self, texts: Iterable[Readable], encoder: Encoder, progress: Progress | None = None, *, total: int | None = None
    ) -> Rows:
        """Encode what is missing and return the row of every text, int64 [n]; -1 where a picture can't be read now.

        What has no vector is not kept, so it is encoded at the next call, or the one after.
        ``texts`` may be a generator: only a window of it is held in memory. ``total`` is its length, where it
        can't say so itself; it only serves ``progress``, which is called after every flush.
        """
        if encoder.fingerprint != self.fingerprint:
            raise LearningError(
                f"this cache holds vectors of {self.fingerprint}, the encoder makes {encoder.fingerprint}"
            )
        if total is None:
            total = len(texts) if isinstance(texts, Sequence) else 0
        found: list[Rows] = [np.empty(0, np.int64)]
        done, told, chunk = 0, -1, SMALLEST_CHUNK

        def report(in_window: int) -> None:
            nonlocal told
            if progress is not None and done + in_window != told:
                told = done + in_window
                progress(told, total)

        for window in _windows(texts):
            rows, chunk = self._ensure_window(window, encoder, report, chunk)
            found.append(rows)
            report(len(window))
            done += len(window)
        return np.concatenate(found)

    def _ensure_window(
        self, texts: list[Readable], encoder: Encoder, report: Callable[[int], None], chunk: int
    ) -> tuple[Rows, int]:
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

    def _encode(self, batch: list[bytes], texts: dict[bytes, Readable], encoder: Encoder) -> None:
        """Encode and append the texts of ``batch`` that no other writer has added in the meantime."""
        with self._files.writing():
            with self._lock:
                self.refresh()
                rows = self._index.find(batch)
            left = [digest for digest, row in zip(batch, rows, strict=True) if row < 0]
            if not left:
                return
            vectors = self._read([texts[digest] for digest in left], encoder)
            if vectors.shape != (len(left), self.dimension):
                raise LearningError(f"{encoder.name} returned {vectors.shape}, not {(len(left), self.dimension)}")
            there = np.ones(len(left), np.bool_)
            if reads_images(encoder):
                there[np.isnan(vectors).all(axis=1)] = False
            if not np.isfinite(vectors[there]).all():
                raise LearningError(f"{encoder.name} returned values that are not finite")
            if keys := b"".join(left[at] for at in np.flatnonzero(there)):
                self._files.append(vectors[there].astype(np.float16), keys)
        self.refresh()

    def _read(self, texts: list[Readable], encoder: Encoder) -> FloatMatrix:
        """The vectors of ``texts``, which are appended next, but for rows of nan."""
        return encoder.encode(texts)


def _adapted(chunk: int, seconds: float) -> int:
    if seconds < CHUNK_SECONDS / 2:
        return min(chunk * 2, WINDOW_TEXTS)
    return max(chunk // 2, SMALLEST_CHUNK) if seconds > CHUNK_SECONDS * 2 else chunk


def _windows(texts: Iterable[Readable]) -> Iterator[list[Readable]]:
    window: list[Readable] = []
    characters = 0
    for text in texts:
        window.append(text)
        characters += len(text)
        if len(window) >= WINDOW_TEXTS or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
