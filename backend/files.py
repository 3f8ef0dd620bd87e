"""Files that are either whole or not there, locks between processes, and disks that are full."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

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
