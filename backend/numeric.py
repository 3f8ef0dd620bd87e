"""Small rules of arithmetic that every room shares."""

from __future__ import annotations

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
