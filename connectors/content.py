"""What an encoder reads of a record: its text, where its images are, and what is read beside the text.

It travels as a value: to encoders, into the embedding cache, through the micro-batcher and into jobs. Most records are
a text with nothing beside it, and a million of those are a million plain strings.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

_SHOWN, _BESIDE = "\x1dtext+images\x1d", "\x1dtext+context\x1d"
"""How keys of other contents than a text begin. U+001D is the group separator of ASCII."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a record says (``text``, may be empty) and shows (``images``: paths, http(s) URLs or data: URLs).

    ``context`` is read beside a text whose parts are marked; nothing in it is.
    """

    text: str
    images: tuple[str, ...] = ()
    context: str = ""

    def __len__(self) -> int:
        """Characters in all, as of a string: what it weighs in a batch."""
        return len(self.text) + sum(map(len, self.images)) + len(self.context)


Readable: TypeAlias = str | Content
"""A plain text as it stands, or a content."""


def content_of(readable: Readable) -> Content:
    """A plain text is a content with nothing beside it."""
    return Content(readable) if isinstance(readable, str) else readable


def text_of(readable: Readable) -> str:
    """The text alone: what an encoder without eyes reads."""
    return readable if isinstance(readable, str) else readable.text


def says_nothing(readable: Readable) -> bool:
    """Whether there is nothing in it to judge: no word and no image."""
    one = content_of(readable)
    return not one.images and not one.text.strip()


def as_json(content: Content) -> dict[str, Any]:
    """A content for JSON, as the ``default`` of ``json.dumps``; a plain text is a string there too."""
    return asdict(content)


def from_json(value: Any) -> Readable:
    """What ``as_json`` wrote, or the plain text."""
    return value if isinstance(value, str) else Content(**value | {"images": tuple(value["images"])})


def cache_key(readable: Readable) -> bytes:
    """What the embedding cache knows a content by, as every version has written it: equal exactly for equal contents.

    A text with nothing beside it is its own key. Others are a mark that no text begins with, and a JSON list. A text
    that happens to begin with a mark is written as a list as well, so it is never taken for another content.
    """
    if isinstance(readable, str) and readable[:1] != "\x1d":
        return readable.encode("utf-8", "surrogatepass")
    one = content_of(readable)
    context = one.context if one.context.strip() else ""  # a blank one is read as none
    if context or one.text.startswith(_BESIDE):
        key = _BESIDE + _json_list(one.text, context, *one.images)
    elif one.images or one.text.startswith(_SHOWN):
        key = _SHOWN + _json_list(one.text, *one.images)
    else:
        key = one.text
    return key.encode("utf-8", "surrogatepass")


def _json_list(*parts: str) -> str:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))  # ASCII would join halves of surrogate pairs
