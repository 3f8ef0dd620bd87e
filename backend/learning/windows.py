"""Texts longer than the encoder's window: read in overlapping windows, and one vector made of all of them.

A text's vector is the mean of its windows' unit vectors, each weighted by the number of tokens that no window before
it has shown, scaled to length 1. A text that fits into one window keeps exactly that window's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from nextlabel.backend.learning.encoders import FloatMatrix
    from nextlabel.backend.learning.tokenising import Tokeniser

WINDOWS_AT_ONCE = 4096
"""Texts are read in portions of about so many windows: their token ids take some 30 bytes a token."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of several texts, those of one text next to each other and in the order in which it is read.

    ``rows`` holds the token ids of the w windows; ``owner``, int64 [w], says which text a window is of, and
    ``weights``, float32 [w], how many tokens it shows first (1 or more).
    """

    rows: list[list[int]]
    owner: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def encode_windows(
    texts: Sequence[str], tokenise: Tokeniser, forward: Callable[[list[list[int]]], FloatMatrix], dimension: int
) -> FloatMatrix:
    """Unit vectors float32 [len(texts), dimension]: ``forward`` turns token ids into those of the windows.

    Any number of texts in bounded memory beyond their own: they are cut, read and pooled in portions.
    """
    if tokenise.windows == 1:
        return forward(tokenise(texts))
    vectors = np.empty((len(texts), dimension), dtype=np.float32)
    portion = max(1, WINDOWS_AT_ONCE // tokenise.windows)
    for start in range(0, len(texts), portion):
        some = texts[start : start + portion]
        cut = tokenise.cut(some)
        vectors[start : start + portion] = pool(forward(cut.rows), cut, len(some))
    return vectors


def pool(vectors: FloatMatrix, windows: Windows, texts: int) -> FloatMatrix:
    """Unit vectors of ``texts`` texts, float32 [texts, d], from those of their windows, float32 [w, d].

    Every text needs a window or more.
    """
    first = np.searchsorted(windows.owner, np.arange(texts))
    counts = np.diff(first, append=len(windows.rows))
    pooled: FloatMatrix = vectors[first]  # what fits into one window stays as it is, to the last bit
    for text in np.flatnonzero(counts > 1):
        its = slice(first[text], first[text] + counts[text])
        mean = windows.weights[its] @ vectors[its]
        pooled[text] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return pooled


def pool_windows(vectors: Any, owner: Any, weights: Any, texts: int) -> Any:
    """The same in torch, with gradients: float [w, d], int64 [w], float [w] -> unit vectors [texts, d].

    For training: the windows of a batch's texts go through the body as one batch, and are pooled here. ``owner`` may
    be in any order.
    """
    import torch

    sums = torch.zeros(texts, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    sums = sums.index_add(0, owner, vectors * weights.to(vectors.dtype).unsqueeze(1))
    return sums / sums.norm(dim=1, keepdim=True).clamp(min=1e-12)
