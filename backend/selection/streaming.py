"""Vectors that stay in a file: strategies read what they compare, and little of it stays in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.cache import Reader
from nextlabel.connectors.errors import DataError

from .base import Indices


@dataclass(frozen=True, slots=True)
class MappedVectors:
    """The vectors of a pool in a file: ``matrix`` is float16 or float32 [n, d], memory-mapped and read-only.

    However often it is read, at most about 256 MB of the file count as memory of this process.
    """

    matrix: npt.NDArray[np.floating[Any]]
    _reader: Reader = field(default_factory=Reader, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | Path) -> MappedVectors:
        """The matrix in a ``.npy`` file. Raises DataError if there is none, or if it holds anything else."""
        try:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} can't be read as a .npy file: {error}") from error
        if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
            raise DataError(
                f"{path} holds {matrix.dtype} {list(matrix.shape)}; vectors are floating, a row for each record"
            )
        return cls(matrix)

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, indices: Indices) -> npt.NDArray[np.floating[Any]]:
        """float [k, d] for int64 [k] indices into the pool; a copy."""
        taken = np.array(self.matrix[indices], copy=True)
        self._reader.read(self.matrix, len(indices))
        return taken
