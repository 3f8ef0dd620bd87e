"""Texts as windows of token ids, and where in the text every token stands.

Offsets come from the Rust tokenizer, which keeps them through every normalisation, in characters of the text given.
They are made into units: stretches of characters that come one after the other, share nothing, begin and end with no
white space, and leave out no other character (unless white space stands on both sides of it). So

- several tokens for one character (an emoji in a byte-level vocabulary) are one unit, tagged at its first token;
- a character that the tokenizer drops (an accent, a joiner, a control character) belongs to the unit before it;
- white space that a byte-level or SentencePiece token begins with belongs to no unit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.tokenizer import tokenizer_file
from nextlabel.connectors.errors import ConfigError, LearningError, MissingExtra

from .tagging import IntArray

LEAST_LENGTH = 16  # tokens of a window: room for the special ones, a context, and an overlap
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the model. ``ids`` and ``types`` [t]; unit ``units[i]`` of the text stands at ``positions[i]``."""

    ids: list[int]
    types: list[int]
    positions: IntArray
    units: IntArray


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """``bounds`` int64 [u, 2]: the characters of every unit. ``windows``: none for a text without any unit."""

    bounds: IntArray
    windows: list[Window]

    def nearest_middle(self) -> list[IntArray]:
        """For every window, which of its units to take from it: each from where it has most around it."""
        if len(self.windows) == 1:
            return [np.arange(len(self.windows[0].units))]
        room = np.full((len(self.windows), len(self.bounds)), -1, np.int64)
        for row, window in enumerate(self.windows):
            count = len(window.units)
            room[row, window.units] = np.minimum(np.arange(count), np.arange(count)[::-1])
        best = room.argmax(axis=0)
        return [np.flatnonzero(best[window.units] == row) for row, window in enumerate(self.windows)]


class SpanTokeniser:
    """Cuts texts into windows of at most ``max_length`` tokens that overlap by a quarter. Any text is fine.

    A context stands behind the text as a second sequence, in every window, cut to a quarter of the length.
    """

    def __init__(self, folder: ModelFolder, cache: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtra("tokenizers", "train") from None
        if folder.max_length < LEAST_LENGTH:
            raise ConfigError(f"max_length is {folder.max_length}; spans need at least {LEAST_LENGTH} tokens")
        file = tokenizer_file(folder, cache)
        self._quarter = folder.max_length // 4
        self._stride = self._quarter
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(folder.max_length, stride=self._stride, strategy="only_first")
        self._short = Tokenizer.from_file(str(file))
        self._short.no_padding()
        self._short.enable_truncation(self._quarter)

    def __call__(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[TokenisedText]:
        """Units and windows of every text."""
        clean = [_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text) for text in texts]
        if contexts is not None and len(contexts) != len(texts):
            raise LearningError(f"{len(texts)} texts don't go with {len(contexts)} contexts")
        beside = {context: self._cut(context) for context in set(contexts or ()) if context.strip()}
        pairs = [
            (text, beside[context]) if context in beside else text
            for text, context in zip(clean, contexts or [""] * len(clean), strict=True)
        ]
        return [
            self._text(text, encoding)
            for text, encoding in zip(clean, self._tokenizer.encode_batch(pairs), strict=True)
        ]

    def _cut(self, context: str) -> str:
        context = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", context)
        encoding = self._short.encode(context, add_special_tokens=False)
        return context[: max((end for _, end in encoding.offsets), default=0)]

    def _text(self, text: str, encoding: Any) -> TokenisedText:
        windows, start = [], 0
        offsets: list[tuple[int, int]] = []
        for part in (encoding, *encoding.overflowing):
            places = [at for at, sequence in enumerate(part.sequence_ids) if sequence == 0]
            windows.append((start, places, part))
            offsets.extend(part.offsets[at] for at in places[len(offsets) - start :])
            start += len(places) - self._stride
        bounds, unit_of = units(text, offsets)
        if not len(bounds):
            return TokenisedText(bounds, [])
        made = []
        for start, places, part in windows:
            own = unit_of[start : start + len(places)]
            heads = np.flatnonzero(own >= 0)
            made.append(Window(part.ids, part.type_ids, np.asarray(places, np.int64)[heads], own[heads]))
        return TokenisedText(bounds, [window for window in made if len(window.units)])


def units(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[IntArray, IntArray]:
    """Bounds int64 [u, 2] of the units that tokens with ``offsets`` [t] stand for.

    Beside them int64 [t]: the unit whose first token this is, or -1.
    """
    bounds: list[list[int]] = []
    unit_of = np.full(len(offsets), -1, np.int64)
    for token, (start, end) in enumerate(offsets):
        start, end = _trimmed(text, start, end)
        if start >= end:
            continue
        before = bounds[-1][1] if bounds else 0
        if bounds and start < before:  # shares a character with the token before it
            bounds[-1][1] = max(before, end)
            continue
        dropped = text[before:start]
        if bounds:
            taken = _to_space(dropped)
            bounds[-1][1] += taken
            dropped = dropped[taken:]
        unit_of[token] = len(bounds)
        bounds.append([start - _to_space(dropped[::-1]), end])
    if bounds:
        bounds[-1][1] += _to_space(text[bounds[-1][1] :])
    return np.asarray(bounds, np.int64).reshape(-1, 2), unit_of


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _to_space(text: str) -> int:
    """How many characters come before the first white space."""
    return next((at for at, character in enumerate(text) if character.isspace()), len(text))
