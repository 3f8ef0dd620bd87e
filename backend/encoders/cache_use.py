"""Who has an embedding cache open, and vectors that are taken out of one when nobody has."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Final, Self

import numpy as np

from nextlabel.backend.files import exclusive, readable_errors, size_of, write_atomically

try:
    import fcntl
except ImportError:  # Windows: nobody is told from somebody, so take care that no service runs
    fcntl = None  # type: ignore[assignment]

DIGEST_BYTES: Final = 16
PLAIN: Final = frozenset({"vectors.f16", "keys", "meta.json", "lock", "use"})
"""The files of a cache that has one vector per text; others have more beside them."""


class InUse:
    """Says that somebody has the cache in ``folder`` open, for as long as this is there and its process lives."""

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        handle = os.open(folder / "use", os.O_RDWR | os.O_CREAT, 0o600)
        self.close = weakref.finalize(self, os.close, handle)
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
            except OSError:  # somebody has it open, or the file system knows no locks
                if alone:
                    self.close()
                    raise

    @classmethod
    def alone(cls, folder: Path) -> Self | None:
        """With nobody else having it open, until this is closed; None if somebody has, or that can't be known."""
        try:
            return cls(folder, alone=True)
        except OSError:
            return None


def forget(folder: Path, unwanted: Collection[bytes]) -> int | None:
    """Take the vectors known by these digests out of the cache in ``folder``; how many, or None while it is in use.

    A cache that keeps more than one vector per text is emptied where it has one of them.
    Raises StoreError and StoreFull.
    """
    with readable_errors(f"no space is left to write {folder} anew", f"{folder} can't be written"):
        if (alone := InUse.alone(folder)) is None:
            return None
        with closing(alone), exclusive(folder / "lock"):
            keys, vectors = folder / "keys", folder / "vectors.f16"
            row_bytes = 2 * int(json.loads((folder / "meta.json").read_bytes())["dimension"])
            count = min(size_of(keys) // DIGEST_BYTES, size_of(vectors) // row_bytes)
            digests = np.fromfile(keys, dtype=f"V{DIGEST_BYTES}", count=count)
            kept = np.array([one.tobytes() not in unwanted for one in digests], dtype=bool)
            if kept.all():
                return 0
            os.truncate(keys, 0)  # nothing counts without its key: a crash from here on means encoding again
            if beside := [path for path in folder.iterdir() if path.name not in PLAIN]:
                for path in (vectors, *beside):
                    os.truncate(path, 0)
                return count
            rows = np.fromfile(vectors, dtype=f"V{row_bytes}", count=count)
            write_atomically(vectors, rows[kept].tobytes())
            write_atomically(keys, digests[kept].tobytes())
            return int(count - kept.sum())
