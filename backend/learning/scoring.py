"""A whole pool through a probe: the embedding matrix stays on disk, memory stays small."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.mapped import Reader

CHUNK = 16_384  # rows that are looked at together: side by side in the file or not


def score_pool(
    probe: Probe, matrix: npt.NDArray[np.float16], rows: npt.NDArray[np.int64] | slice = slice(None)
) -> npt.NDArray[np.float32]:
    """Probabilities float32 [n, c] for ``rows`` of ``matrix``, floating [r, d], usually a float16 memmap.

    Works through 16,384 rows at a time. Rows that lie side by side are read without a copy; the fast path is
    found by itself, also where it holds for a part of ``rows`` only. Of a mapped file, what was read is let go again
    and again. Negative rows raise IndexError.
    """
    if isinstance(rows, slice):
        rows = np.arange(*rows.indices(len(matrix)), dtype=np.int64)
    if len(rows) and rows.min() < 0:
        raise IndexError(f"row {rows.min()} of the matrix: a record is not embedded yet")
    out = np.empty((len(rows), probe.classes), np.float32)
    reader = Reader()
    for at in range(0, len(rows), CHUNK):
        some = rows[at : at + CHUNK]
        side_by_side = bool(some[-1] - some[0] == len(some) - 1 and (np.diff(some) == 1).all())
        chunk = matrix[some[0] : some[-1] + 1] if side_by_side else matrix[some]
        out[at : at + CHUNK] = probe.predict_proba(chunk)
        reader.read(matrix, len(some))
    return out
