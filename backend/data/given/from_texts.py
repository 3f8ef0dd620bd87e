"""Answers in texts with marks: tokens with tags (CoNLL), and spaCy's documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from nextlabel.backend.data.encodings import decoded, encoding_of
from nextlabel.backend.data.reading import ReadingOptions
from nextlabel.backend.data.sources import Source
from nextlabel.connectors.errors import DataError, MissingExtra
from nextlabel.connectors.records import Span, Value

from .answers import FAULTS, FORMATS, Fault, Found, GivenRow, Reading, Wanted, counted, names_in, why

TAG: Final = re.compile(r"O|[BILUESM]-\S+")
"""Tags of BIO, BILOU and BIOES."""
SENTENCES: Final = 50  # looked at to tell whether a text file is tokens with tags
_DOCUMENT: Final = "-DOCSTART-"
LIKELY: Final = 0.5
"""How sure a label of a spaCy document has to be."""


# -- CoNLL -------------------------------------------------------------------------------------------------------------


def is_conll(source: Source, options: ReadingOptions) -> bool:
    """Whether a text file has a token and a tag in each line, by its beginning."""
    lines = 0
    with decoded(source.opened, encoding_of(source.opened, options.encoding)) as text:
        for line in text:
            if lines >= SENTENCES:
                break
            parts = line.split()
            if not parts or line.startswith("#") or parts[0] == _DOCUMENT:
                continue
            if len(parts) < 2 or not TAG.fullmatch(parts[-1]):
                return False
            lines += 1
    return lines > 0


def read_conll(source: Source, wanted: Wanted) -> Reading:
    """One answer for each sentence: the first column is a token, the last its tag; a blank line ends a sentence.

    ``# text = ...`` and ``# id = ...`` before a sentence say what it is; without it, its tokens stand apart by a space.
    """
    reading = Reading(source.name, "conll", "line", form=FORMATS["conll"])

    def rows() -> Iterator[Found]:
        encoding = encoding_of(source.opened, wanted.options.encoding)
        with decoded(source.opened, encoding) as text:
            for number, said, lines in _sentences(text):
                try:
                    yield _sentence(number, said, lines)
                except FAULTS as error:
                    yield Fault(number, why(error))
        reading.remarks += [encoding.remark] if encoding.remark else []

    reading.rows = rows()
    return reading


def _sentences(text: Any) -> Iterator[tuple[int, dict[str, str], list[list[str]]]]:
    """(number of its first line, what is said of it, its lines in columns) of each sentence."""
    said: dict[str, str] = {}
    lines: list[list[str]] = []
    first = 0
    for number, line in enumerate([*text, ""], start=1):
        parts = line.split("\t") if "\t" in line else line.split()
        parts = [part.strip() for part in parts if part.strip()]
        if not parts:
            if lines:
                yield first, said, lines
            said, lines = ({}, []) if lines else (said, lines)
        elif (line.startswith("#") and not lines and len(parts) != 2) or (
            line.startswith("#") and not lines and "=" in line
        ):
            key, _, value = line[1:].partition("=")
            said[key.strip()] = value.strip()
        elif parts[0] != _DOCUMENT:
            first = first if lines else number
            lines.append(parts)


def _sentence(number: int, said: dict[str, str], lines: Sequence[Sequence[str]]) -> GivenRow:
    for row, parts in enumerate(lines):
        if len(parts) < 2:
            raise ValueError(f"line {number + row} has no tag: {' '.join(parts)!r:.40}")
    tokens = [parts[0] for parts in lines]
    text = said.get("text") or " ".join(tokens)
    places: list[tuple[int, int]] = []
    at = 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0:
            raise ValueError(f"the token {token!r:.40} does not stand in its text")
        at = start + len(token)
        places.append((start, at))
    value = spans_of_tags([parts[-1] for parts in lines], places)
    return GivenRow(number, names_in(said.get("id"), said.get("sent_id")), {}, value, text=text, loose=True)


def spans_of_tags(tags: Sequence[str], places: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    """The spans that tags of BIO, BILOU or BIOES mark; ``places``: where each token stands.

    An I without a B before it begins a span, as IOB1 has it. Raises ValueError for what is no tag.
    """
    found: list[Span] = []
    open_label = ""
    for tag, (start, end) in zip(tags, places, strict=True):
        letter, _, label = tag.partition("-")
        if tag in ("O", "_"):
            open_label = ""
            continue
        if letter not in "BILUESM" or len(letter) != 1 or not label:
            raise ValueError(f"{tag!r:.40} is no tag: O, B-LABEL and I-LABEL are expected")
        if letter in "ILEM" and label == open_label:
            found[-1] = Span(found[-1].start, end, label)
        else:
            found.append(Span(start, end, label))
        open_label = "" if letter in "LUES" else label
    return tuple(found)


# -- spaCy -------------------------------------------------------------------------------------------------------------


def read_spacy(source: Source, wanted: Wanted) -> Reading:
    """One answer for each document: its entities and groups of spans, or its categories.

    Raises MissingExtra without spaCy, DataError for what is no DocBin.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        raise MissingExtra("spacy", "spacy") from None
    with source.opened() as file:
        packed = file.read()
    try:
        documents = list(DocBin().from_bytes(packed).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # of zlib, msgpack and spaCy itself
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{source.name}: no documents of spaCy (DocBin) can be read from it: {reason:.200}") from None
    reading = Reading(source.name, "spacy", "document", form=FORMATS["spacy"])
    reading.rows = counted((_document(at, one, wanted) for at, one in enumerate(documents, start=1)), reading)
    return reading


def _document(number: int, document: Any, wanted: Wanted) -> Found | None:
    ids = names_in(*(document.user_data.get(key) for key in ("id", "uid", wanted.id) if key))
    value: Value
    if wanted.marks:
        groups = [document.ents, *document.spans.values()]
        marked = (Span(one.start_char, one.end_char, one.label_) for group in groups for one in group)
        value = tuple(dict.fromkeys(marked))
        if not value and not document.has_annotation("ENT_IOB") and not wanted.empty_is_none:
            return None
    else:
        value = tuple(label for label, score in document.cats.items() if score >= LIKELY)
        if not document.cats:
            return None
    return GivenRow(number, ids, {}, value, text=document.text, loose=True)


def is_spacy(name: str) -> bool:
    """Whether a file's name is one of spaCy's documents."""
    return Path(name).suffix.lower() == ".spacy"
