"""Small rules of arithmetic that every room shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def probabilities(logits: Matrix, multi_label: bool) -> Matrix:
    """Logits [n, c] to probabilities, in place where it can, without overflow."""
    if multi_label:
        np.clip(logits, -60, 60, out=logits)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def unit_rows(rows: npt.NDArray[np.floating[Any]]) -> Matrix:
    """The rows of [n, d], brought to length 1, in float32. A row of zeros stays zeros, and nothing else counts as none.

    No floor under the length: a short row has a direction as good as any, and what is divided by a floor instead is no
    unit vector. A row that isn't finite comes out as it must, not finite: the embedding cache refuses those, and who
    has another use for them says so before. The length is summed as ``np.linalg.norm`` does it, to the last bit, since
    vectors on disk are held against new ones.
    """
    single = np.asarray(rows, np.float32)
    lengths = np.linalg.norm(single, axis=1, keepdims=True)
    return np.asarray(single / np.where(lengths == 0, np.float32(1), lengths), np.float32)
