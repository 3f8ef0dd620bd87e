"""Files that are whole or not there, that grow, or are read in bounded memory; locks, and disks that are full."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from nextlabel.connectors.errors import StoreError, StoreFull

if TYPE_CHECKING:
    import numpy.typing as npt

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # the last: the process's own limit (ulimit -f)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; the file written there takes its place when the block ends well.

    Two processes may do this at once: each writes a file of its own, and the last to finish wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield path
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def write_atomically(target: Path, data: bytes) -> None:
    """Write ``data`` to ``target``, whole or not at all."""
    with atomic_path(target) as path:
        path.write_bytes(data)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; waits for other processes. Released by the system if we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def is_full(error: OSError) -> bool:
    """Whether a write failed because there is no room: a full disk, a quota, a limit on the size of files."""
    return error.errno in _FULL


@contextmanager
def readable_errors(full: str, unusable: str) -> Iterator[None]:
    """Turn what the disk says into StoreFull, with the words of ``full``, and StoreError, which ``unusable`` opens."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StoreFull(full) from error
        raise StoreError(f"{unusable}: {error}") from error


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


RESIDENT = 256 * 2**20
"""Bytes of a mapped file that may stay in the process while a whole pool is read."""


class Reader:
    """Counts what is read of a matrix, and lets it go whenever ``limit`` bytes are reached."""

    def __init__(self, limit: int = RESIDENT) -> None:
        self._limit = limit
        self._read = 0

    def read(self, matrix: npt.NDArray[Any], rows: int) -> None:
        """``rows`` of ``matrix``, [n, d], were read, wherever they lie."""
        self._read += rows * matrix.shape[1] * matrix.itemsize
        if self._read >= self._limit:
            self._read = 0
            release(matrix)


def release(matrix: npt.NDArray[Any]) -> bool:
    """Let go of the pages of a matrix that is mapped read-only; say whether there was anything to let go.

    The system still has them, and maps them again when they are wanted. Anything else than a file is left alone.
    """
    mapping = getattr(matrix, "_mmap", None)
    if not isinstance(mapping, mmap.mmap) or getattr(matrix, "mode", "") != "r" or sys.platform != "linux":
        return False
    mapping.madvise(mmap.MADV_DONTNEED)
    return True
