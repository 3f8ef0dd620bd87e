"""Where people begin and end a mark inside of what has no blanks: where the kind of character changes.

Letters and digits are of one kind, punctuation and symbols (emoji among them) of two others. In scripts that write no
blanks between words each character may begin a word; what is written above, below or behind it goes with it.
"""

from __future__ import annotations

import itertools
import unicodedata
from bisect import bisect_right

import numpy as np

from .tagging import IntArray

# The first character of a block, and the one after its last: Thai and Lao, Tibetan, Burmese, Khmer, kana, Chinese.
_NO_BLANKS = (
    (0x0E00, 0x0F00),
    (0x0F00, 0x1000),
    (0x1000, 0x10A0),
    (0x1780, 0x1800),
    (0x3040, 0x3100),
    (0x31F0, 0x3200),
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0xFF66, 0xFFA0),
    (0x20000, 0x40000),
)
_FIRST = [first for first, _ in _NO_BLANKS]
_EACH, _WITH = "each", "with what stands before it"


def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    if category in "MCZ":  # marks, joiners, and blanks, at which nothing is parted here
        return _WITH
    if category not in "LN":
        return category
    block = bisect_right(_FIRST, ord(character)) - 1
    return _EACH if block >= 0 and ord(character) < _NO_BLANKS[block][1] else "word"


def breaks(text: str, start: int, end: int) -> list[int]:
    """Where between ``start`` and ``end`` another kind of character begins, both left out."""
    if text[start:end].isascii() and text[start:end].isalnum():
        return []
    found: list[int] = []
    before = _kind(text[start]) if start < end else ""
    for at in range(start + 1, end):
        kind = _kind(text[at])
        if kind == _WITH:
            continue
        if kind != before or kind == _EACH:
            found.append(at)
        before = kind
    return found


def parted(text: str, bounds: IntArray, read_at: IntArray) -> tuple[IntArray, IntArray]:
    """Units with ``bounds`` [u, 2] parted where the kind of character changes; each part is read where its unit was."""
    parts: list[tuple[int, int]] = []
    places: list[int] = []
    for (start, end), place in zip(bounds.tolist(), read_at.tolist(), strict=True):
        edges = [start, *breaks(text, start, end), end]
        for low, high in itertools.pairwise(edges):
            part = text[low:high]
            parts.append((high - len(part.lstrip()), low + len(part.rstrip())))
            places.append(place)
    return np.asarray(parts, np.int64).reshape(-1, 2), np.asarray(places, np.int64)


def spaced(text: str, at: list[int]) -> tuple[str, list[int]]:
    """``text`` with a blank before each place of ``at``, and what turns offsets in that into those of ``text``."""
    edges = [0, *at, len(text)]
    back: list[int] = []
    for low, high in itertools.pairwise(edges):
        back += [*range(low, high), high]
    return " ".join(text[low:high] for low, high in itertools.pairwise(edges)), back
