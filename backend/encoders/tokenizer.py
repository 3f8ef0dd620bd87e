"""Texts to token ids, straight through the Rust tokenizer, cut into windows, and padded batches of them.

A text longer than the encoder reads is read in overlapping windows. Its vector is the mean of its windows' unit
vectors, each weighted by the number of tokens that no window before it has shown, scaled to length 1. A text that fits
into one window keeps exactly that window's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, text_of

from .base import FloatMatrix, need
from .inspection import cut
from .model_folder import ModelFolder

WINDOWS_AT_ONCE = 4096
"""Texts are read in portions of about so many windows: their token ids take some 30 bytes per token."""
CHARACTERS_A_TOKEN = 20  # of a long text that are looked at first; 4 to 5 are usual, blanks may be without end
TORN = 32  # tokens next to where a text was cut, which may be others than in the whole text
OVERLAP = 8  # a window repeats this part of the one before it: an eighth, so that no sentence is only seen torn
IntMatrix = npt.NDArray[np.int64]


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
    texts: Sequence[Readable], tokenise: Tokeniser, forward: Callable[[list[list[int]]], FloatMatrix], dimension: int
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
    several = np.flatnonzero(counts > 1)
    for text in several:
        its = slice(first[text], first[text] + counts[text])
        pooled[text] = windows.weights[its] @ vectors[its]
    pooled[several] = unit_rows(pooled[several])
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


class Tokeniser:
    """Turns texts into token ids, those of the model's library; no list is empty, none longer than ``max_length``."""

    def __init__(self, folder: ModelFolder) -> None:
        self._tokenizer = open_tokenizer(folder)
        self.windows = folder.windows
        self._overlap = folder.max_length // OVERLAP if folder.windows > 1 else 0
        self._left, self._prompt = folder.reading.left, folder.prompt
        cut(self._tokenizer, folder.max_length, left=self._left, stride=self._overlap)
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._most = folder.max_length * folder.windows

    def __call__(self, texts: Sequence[Readable]) -> list[list[int]]:
        """Token ids of every text, of its words alone where it comes with images. None becomes a single id 0."""
        return [encoding.ids or [0] for encoding in self._encoded(texts)]

    def cut(self, texts: Sequence[Readable]) -> Windows:
        """Every text in up to ``windows`` windows of ``max_length`` tokens; what is past them is left out.

        The first window has the ids that a call gives. The prompt stands in that one only.
        """
        rows: list[list[int]] = []
        owner: list[int] = []
        weights: list[int] = []
        for text, encoding in enumerate(self._encoded(texts)):
            for number, window in enumerate([encoding, *encoding.overflowing[: self.windows - 1]]):
                rows.append(window.ids or [0])
                owner.append(text)
                weights.append(max(1, len(window.ids) - self._special - (self._overlap if number else 0)))
        return Windows(rows, np.array(owner, np.int64), np.array(weights, np.float32))

    def longer(self, texts: Sequence[Readable]) -> int:
        """How many of ``texts`` have tokens past the last window, which are not read."""
        return sum(len(encoding.overflowing) >= self.windows for encoding in self._encoded(texts))

    def _encoded(self, texts: Sequence[Readable]) -> list[Any]:
        """The encodings of ``texts``. Of a long one no more is looked at than it takes to fill the windows."""
        clean = [clean_text(text_of(text)) for text in texts]
        encodings: list[Any] = [None] * len(clean)
        pending, characters = list(range(len(clean))), self._most * CHARACTERS_A_TOKEN
        while pending:
            parts = [self._prompt + self._part(clean[row], characters) for row in pending]
            for row, encoding in zip(pending, self._tokenizer.encode_batch_fast(parts), strict=True):
                encodings[row] = encoding
            pending = [row for row in pending if len(clean[row]) > characters and not self._full(encodings[row])]
            characters *= 4
        return encodings

    def _part(self, text: str, characters: int) -> str:
        return text[-characters:] if self._left else text[:characters]

    def _full(self, encoding: Any) -> bool:
        """Whether a text that was cut has tokens enough, so that those next to the cut are not read."""
        more = sum(len(one.ids) - self._special - self._overlap for one in encoding.overflowing)
        return bool(len(encoding.ids) + more >= self._most + TORN)


def clean_text(text: str) -> str:
    """The same text, with lone surrogates replaced by U+FFFD and halves that belong together joined."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def pad(rows: Sequence[Sequence[int]]) -> tuple[IntMatrix, IntMatrix]:
    """Ids and attention mask, int64 [len(rows), longest row] each."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = np.zeros_like(mask)
    ids[mask.astype(bool)] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return ids, mask


def batches_by_length(rows: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Indices of ``rows`` in batches of up to ``size`` of like length, the longest first."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
    return [order[start : start + size] for start in range(0, len(order), size)]


def open_tokenizer(folder: ModelFolder) -> Any:
    """The model's Rust tokenizer, which cuts and pads nothing. Raises MissingExtra."""
    need("tokenizers")
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder.tokenizer))
