"""The two growing files of the embedding cache, and what keeps them whole.

``vectors.f16``  rows of float16, one after the other
``keys``         16 bytes a row: the digest of its text
``meta.json``    which encoder they are from; written once
``lock``         held by the one who appends

Rows are written and flushed to the disk before their keys are written, and a row counts once its key is whole. So
after a crash at any point the counted rows are good, and the next writer cuts off what is beyond them. The keys
themselves are left to the system to flush: a power cut may cost the last of them, which only means encoding
again. Readers take no lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.atomic import write_atomically
from nextlabel.backend.learning.digest_index import DIGEST_BYTES
from nextlabel.connectors.errors import LearningError, StoreError, StoreFull

FORMAT = 1
# EFBIG: the process's own file-size limit (ulimit -f)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

HalfMatrix = npt.NDArray[np.float16]


class CacheFiles:
    """Appends whole rows, reads whole rows. ``dimension`` is the length of a row."""

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        self.folder = folder
        self.dimension = dimension
        self._row_bytes = dimension * 2
        self._vectors = folder / "vectors.f16"
        self._keys = folder / "keys"
        self._guard = threading.RLock()  # between threads; the file lock is between processes
        self._depth = 0
        with _readable_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
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
        """Be the only writer, waiting for the one before. Cuts off what a crashed writer left half-done."""
        with self._guard, _readable_errors(self.folder):
            if self._depth:  # this thread holds it already
                yield
                return
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                self._depth += 1
                self._cut(self.count())
                yield
            finally:
                self._depth -= 1
                os.close(handle)  # and with it the lock

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
        """Add rows. Call it inside ``writing()``.

        Raises StoreFull: then some of the rows may have been added, each of them whole.
        """
        try:
            append_bytes(self._vectors, np.ascontiguousarray(vectors).data.cast("B"), flush=True)
            append_bytes(self._keys, memoryview(keys), flush=False)
        except OSError:
            self._cut(self.count())
            raise

    def _cut(self, count: int) -> None:
        """Cut off what is beyond ``count`` rows."""
        for file, size in ((self._keys, count * DIGEST_BYTES), (self._vectors, count * self._row_bytes)):
            if size_of(file) > size:
                os.truncate(file, size)


def size_of(file: Path) -> int:
    """Bytes in ``file``; 0 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def append_bytes(file: Path, data: memoryview, *, flush: bool) -> None:
    """Write ``data`` behind what ``file`` holds; with ``flush`` it is on the disk when this returns."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        while data:
            data = data[os.write(handle, data) :]
        if flush:
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(
                f"no space is left for the embedding cache in {folder}; what was encoded before is kept. "
                "Free some space and start again: it goes on where it was"
            ) from error
        raise StoreError(f"the embedding cache in {folder} can't be used: {error}") from error
