"""Texts to token ids, straight through the Rust tokenizer, cut into windows, and padded batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.atomic import atomic_path
from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.backend.learning.windows import Windows
from nextlabel.connectors.content import text_of
from nextlabel.connectors.errors import LearningError, MissingExtra

CHARACTERS_A_TOKEN = 20  # a text is cut to this many times max_length before it is tokenised; 4 to 5 are usual
OVERLAP = 8  # a window repeats this part of the one before it: an eighth, so that no sentence is only seen torn

IntMatrix = npt.NDArray[np.int64]


class Tokeniser:
    """Turns texts into lists of token ids, none empty, none longer than ``max_length``."""

    def __init__(self, folder: ModelFolder, cache: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtra("tokenizers", "train") from None
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file(folder, cache)))
        self._tokenizer.no_padding()
        self.windows = folder.windows
        self._overlap = folder.max_length // OVERLAP if folder.windows > 1 else 0
        self._tokenizer.enable_truncation(folder.max_length, stride=self._overlap)
        self._prompt = folder.prompt
        self._characters = folder.max_length * CHARACTERS_A_TOKEN

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, of its words alone where it comes with images. None becomes a single id 0."""
        clean = [self._prompt + clean_text(text_of(text)[: self._characters]) for text in texts]
        return [encoding.ids or [0] for encoding in self._tokenizer.encode_batch_fast(clean)]

    def cut(self, texts: Sequence[str]) -> Windows:
        """Every text in up to ``windows`` windows of ``max_length`` tokens; what is past them is left out.

        The first window has the ids that a call gives. The prompt stands in that one only.
        """
        characters = self._characters * self.windows
        clean = [self._prompt + clean_text(text_of(text)[:characters]) for text in texts]
        rows: list[list[int]] = []
        owner: list[int] = []
        weights: list[int] = []
        special = self._tokenizer.num_special_tokens_to_add(False)
        for text, encoding in enumerate(self._tokenizer.encode_batch_fast(clean)):
            for number, window in enumerate([encoding, *encoding.overflowing[: self.windows - 1]]):
                rows.append(window.ids or [0])
                owner.append(text)
                weights.append(max(1, len(window.ids) - special - (self._overlap if number else 0)))
        return Windows(rows, np.array(owner, np.int64), np.array(weights, np.float32))


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


def tokenizer_file(folder: ModelFolder, cache: Path) -> Path:
    """The model's tokenizer.json, made once and kept in ``cache`` if it has none. Raises LearningError."""
    file = folder.path / "tokenizer.json"
    if file.is_file():
        return file
    file = cache / "tokenizers" / f"{folder.digest(cache)}.json"
    if file.is_file():
        return file
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "train") from None
    try:
        fast = AutoTokenizer.from_pretrained(folder.path).backend_tokenizer
    except Exception as error:  # whatever the model's own tokenizer class raises
        raise LearningError(f"{folder.path} has no tokenizer.json, and none can be made from it: {error}") from error
    with atomic_path(file) as temporary:
        fast.save(str(temporary))
    return file
