"""One string for the whole content of a record: its text, and where its images are.

Encoders, the embedding cache and the micro-batcher all deal in strings. A record without images is its text, as it
stands. One with images is a mark that no text begins with, and a JSON list: the text, then the images' addresses.
A text whose parts are marked may have a context beside it: then it is another mark, and a list of the two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

MARK = "\x1dtext+images\x1d"
"""U+001D is the group separator of ASCII. A text that happens to begin with the mark is wrapped, so it stays text."""
BESIDE = "\x1dtext+context\x1d"


@dataclass(frozen=True, slots=True)
class Content:
    """What a record says (``text``, may be empty) and shows (``images``: paths, http(s) URLs or data: URLs)."""

    text: str
    images: tuple[str, ...] = ()


def write_content(text: str, images: Sequence[str] = ()) -> str:
    """The string for ``text`` and ``images``: equal exactly for equal content. Without images it is the text."""
    return _written(MARK, text, images)


def read_content(string: str) -> Content:
    """What ``write_content`` wrote. Any other string is text."""
    text, *images = _read(MARK, string)
    return Content(text, tuple(images))


def text_of(string: str) -> str:
    """The text alone: what an encoder without eyes reads."""
    return read_content(string).text


def write_beside(text: str, context: str) -> str:
    """The string for a text whose parts are marked, and what is read beside it. Without a context it is the text."""
    return _written(BESIDE, text, [context] if context.strip() or text.startswith(BESIDE) else ())


def read_beside(string: str) -> tuple[str, str]:
    """Text and context that ``write_beside`` wrote. Any other string is a text without context."""
    parts = _read(BESIDE, string)
    return (parts[0], parts[1]) if len(parts) == 2 else (string, "")


def _written(mark: str, text: str, more: Sequence[str]) -> str:
    if not more and not text.startswith(mark):
        return text
    return mark + json.dumps([text, *more], ensure_ascii=False, separators=(",", ":"))  # ASCII would join surrogates


def _read(mark: str, string: str) -> list[str]:
    """The parts that were written behind ``mark``; the ``string`` alone if there is no mark, or it is none of ours."""
    if not string.startswith(mark):
        return [string]
    try:
        parts = json.loads(string[len(mark) :])
    except ValueError:  # cut off, or never one of ours
        return [string]
    ours = isinstance(parts, list) and parts and all(isinstance(part, str) for part in parts)
    return parts if ours else [string]
