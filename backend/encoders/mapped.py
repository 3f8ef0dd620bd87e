"""Matrices mapped from files: what was read of them counts as memory of the process until it is let go."""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

RESIDENT = 256 * 2**20
"""Bytes of a mapped file that may stay in the process while a whole pool is read."""


class Reader:
    """Counts what is read of a matrix, and lets it go whenever ``limit`` bytes are reached.

    Only pages of a file that is mapped to be read are let go: the system still has them, and maps them again when they
    are wanted. Anything else is left alone.
    """

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
    """Let go of the pages of a matrix that is mapped read-only; say whether there was anything to let go."""
    if not isinstance(matrix, np.memmap) or matrix.mode != "r" or sys.platform != "linux":
        return False
    mapping = getattr(matrix, "_mmap", None)
    if not isinstance(mapping, mmap.mmap):
        return False
    mapping.madvise(mmap.MADV_DONTNEED)
    return True
