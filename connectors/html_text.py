"""What an annotator sees of an HTML document, as text.

``marked_text`` has one character for each that Label Studio's page counts (``globalOffsets``): the text nodes of the
body and one for each line break. Spans are offsets into it. ``readable_text`` is for whoever only reads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html.parser import HTMLParser

from typing_extensions import override

HEAD = frozenset({"html", "head", "base", "link", "meta", "title", "style", "script", "noscript", "template"})
"""What does not begin the body of a document yet."""
REMOVED = frozenset({"script", "iframe"})
"""What the page takes out."""
HIDDEN = frozenset({"style"})
"""What is counted, and can't be seen."""
STARTS_ANEW = frozenset({"pre", "textarea", "listing"})
"""A line break right behind their beginning is not part of the document."""
CELLS = frozenset({"td", "th"})
INLINE = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
"""Elements that end no line."""


@lru_cache(maxsize=1024)
def marked_text(html: str) -> str:
    """The characters of the body, as Label Studio's page counts them. Those of style sheets are blanks."""
    return "".join(_parsed(html, apart=False))


@lru_cache(maxsize=1024)
def readable_text(html: str) -> str:
    """The words of the body, a line for each block, without the blanks that a browser leaves out."""
    lines = "".join(_parsed(html, apart=True)).split("\n")
    return "\n".join(filter(None, (re.sub(r"\s+", " ", line).strip() for line in lines)))


def _parsed(html: str, *, apart: bool) -> list[str]:
    body = _Body(apart)
    body.feed(html.replace("\r\n", "\n").replace("\r", "\n"))
    body.close()
    return body.parts


class _Body(HTMLParser):
    """Collects the text of a document's body in ``parts``; ``apart``: with breaks between blocks."""

    def __init__(self, apart: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._apart = apart
        self._begun = False
        self._within = ""  # the element whose text is left out
        self._fresh = False  # right behind the beginning of one that starts anew

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begun |= tag not in HEAD
        if tag in REMOVED | HIDDEN or (tag in HEAD and not self._begun and tag not in ("html", "head")):
            self._within = self._within or tag
        self._fresh = tag in STARTS_ANEW
        if tag == "br":
            self.parts.append("\n")
        else:
            self._break(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = ""
        self._break(tag)

    @override
    def handle_data(self, data: str) -> None:
        if self._fresh:
            data, self._fresh = data.removeprefix("\n"), False
        if self._within:
            if self._begun and self._within in HIDDEN and not self._apart:
                self.parts.append(" " * len(data))
            return
        if not self._begun:
            data = data.lstrip("\t\n\f ")
            self._begun = bool(data)
        # Without breaks of its own, what is one line on the page is one here.
        self.parts.append(data if not self._apart else data.replace("\n", " "))

    def _break(self, tag: str) -> None:
        if self._apart and tag not in INLINE and not self._within:
            self.parts.append(" " if tag in CELLS else "\n")
