"""Texts to token ids, straight through the Rust tokenizer, cut into windows, and padded batches of them.

A text longer than the encoder reads is read in overlapping windows. Its vector is the mean of its windows' unit
vectors, each weighted by the number of tokens that no window before it has shown, scaled to length 1. A text that fits
into one window keeps exactly that window's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.files import atomic_path
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError

from .base import FloatMatrix, need
from .model_folder import ModelFolder

WINDOWS_AT_ONCE = 4096
"""Texts are read in portions of about so many windows: their token ids take some 30 bytes per token."""
CHARACTERS_A_TOKEN = 20  # a text is cut to this many times max_length before it is tokenised; 4 to 5 are usual
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
    """Turns texts into lists of token ids, none empty, none longer than ``max_length``."""

    def __init__(self, folder: ModelFolder, cache: Path) -> None:
        self._tokenizer = open_tokenizer(folder, cache)
        self.windows = folder.windows
        self._overlap = folder.max_length // OVERLAP if folder.windows > 1 else 0
        self._tokenizer.enable_truncation(folder.max_length, stride=self._overlap)
        self._prompt = folder.prompt
        self._characters = folder.max_length * CHARACTERS_A_TOKEN

    def __call__(self, texts: Sequence[Readable]) -> list[list[int]]:
        """Token ids of every text, of its words alone where it comes with images. None becomes a single id 0."""
        return [encoding.ids or [0] for encoding in self._encoded(texts, self._characters)]

    def cut(self, texts: Sequence[Readable]) -> Windows:
        """Every text in up to ``windows`` windows of ``max_length`` tokens; what is past them is left out.

        The first window has the ids that a call gives. The prompt stands in that one only.
        """
        rows: list[list[int]] = []
        owner: list[int] = []
        weights: list[int] = []
        special = self._tokenizer.num_special_tokens_to_add(False)
        for text, encoding in enumerate(self._encoded(texts, self._characters * self.windows)):
            for number, window in enumerate([encoding, *encoding.overflowing[: self.windows - 1]]):
                rows.append(window.ids or [0])
                owner.append(text)
                weights.append(max(1, len(window.ids) - special - (self._overlap if number else 0)))
        return Windows(rows, np.array(owner, np.int64), np.array(weights, np.float32))

    def longer(self, texts: Sequence[Readable]) -> int:
        """How many of ``texts`` have tokens past the last window, which are not read."""
        encoded = self._encoded(texts, self._characters * self.windows)
        return sum(
            len(encoding.overflowing) >= self.windows or len(text_of(text)) > self._characters * self.windows
            for text, encoding in zip(texts, encoded, strict=True)
        )

    def _encoded(self, texts: Sequence[Readable], characters: int) -> list[Any]:
        clean = [self._prompt + clean_text(text_of(text)[:characters]) for text in texts]
        encodings: list[Any] = self._tokenizer.encode_batch_fast(clean)
        return encodings


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


def open_tokenizer(folder: ModelFolder, cache: Path) -> Any:
    """The model's Rust tokenizer, which pads nothing. Raises LearningError and MissingExtra."""
    need("tokenizers")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file(folder, cache)))
    tokenizer.no_padding()
    return tokenizer


def tokenizer_file(folder: ModelFolder, cache: Path) -> Path:
    """The model's tokenizer.json, made once and kept in ``cache`` if it has none. Raises LearningError."""
    file = folder.path / "tokenizer.json"
    if file.is_file():
        return file
    file = cache / "tokenizers" / f"{folder.digest(cache)}.json"
    if file.is_file():
        return file
    need("transformers")
    from transformers import AutoTokenizer

    try:
        fast = AutoTokenizer.from_pretrained(folder.path).backend_tokenizer
    except Exception as error:  # whatever the model's own tokenizer class raises
        raise LearningError(f"{folder.path} has no tokenizer.json, and none can be made from it: {error}") from error
    with atomic_path(file) as temporary:
        fast.save(str(temporary))
    return file
