"""Texts with what was marked in them, as programs that train on spans read them: CoNLL columns, or spaCy's DocBin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nextlabel.backend.data.span_examples import longest_apart
from nextlabel.connectors.errors import MissingExtra
from nextlabel.connectors.records import Span, Value, spans_of

from .export_files import replacing

TOKEN = re.compile(r"\w+|[^\w\s]")
"""A run of letters and digits, or a mark of punctuation."""
LANGUAGE = "xx"
"""spaCy's tokenizer of no language in particular."""


class Marked(NamedTuple):
    """A text, and what was agreed on about it."""

    text: str
    value: Value


class Written(NamedTuple):
    """How many texts were written, with how many spans; ``lost``: spans that overlap a longer one, or fit no token."""

    texts: int
    spans: int
    lost: int


def write_conll(texts: Iterable[Marked], path: Path) -> Written:
    """Two columns, a token and its tag (B-, I- or O), and an empty line after each text, as CoNLL-2003 has it.

    Tokens are words and marks of punctuation; where a span begins or ends within one, it is parted there. Of spans that
    overlap the longer stays. Raises ConfigError for a place that can't be written.
    """
    count = spans = lost = 0
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for one in texts:
            given = spans_of(one.value)
            kept = longest_apart(given)
            for token, tag in tagged(one.text, kept):
                file.write(f"{token} {tag}\n")
            file.write("\n")
            count, spans, lost = count + 1, spans + len(kept), lost + len(given) - len(kept)
    return Written(count, spans, lost)


def tagged(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, str]]:
    """Every token of ``text`` with its tag; ``spans`` share no character, and are in order."""
    cuts = {edge for span in spans for edge in (span.start, span.end)}
    at, begun = 0, -1
    for found in TOKEN.finditer(text):
        edges = [found.start(), *sorted(cut for cut in cuts if found.start() < cut < found.end()), found.end()]
        for start, end in pairwise(edges):
            while at < len(spans) and spans[at].end <= start:
                at += 1
            if at < len(spans) and spans[at].start <= start:
                yield text[start:end], f"{'I' if begun == at else 'B'}-{spans[at].label}"
                begun = at
            else:
                yield text[start:end], "O"


def write_spacy(texts: Iterable[Marked], path: Path, labels: Sequence[str]) -> Written:
    """A DocBin that ``spacy train`` takes: spans as entities; labels of whole texts as ``cats``, 1 or 0 for each.

    A span that begins or ends within a token of spaCy's is widened to whole tokens. Of those that overlap then, the
    longer stays, as entities must not. Raises MissingExtra, ConfigError as above.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
        from spacy.util import filter_spans
    except ImportError:
        raise MissingExtra("spacy", "spacy") from None
    language, docs = spacy.blank(LANGUAGE), DocBin(store_user_data=True)
    count = spans = lost = 0
    for one in texts:
        doc = language.make_doc(one.text)
        given = spans_of(one.value)
        found = [doc.char_span(span.start, span.end, span.label, alignment_mode="expand") for span in given]
        doc.ents = filter_spans([span for span in found if span is not None])
        if not given:
            doc.cats = {label: float(label in one.value) for label in labels} if one.value else {}
        docs.add(doc)
        count, spans, lost = count + 1, spans + len(doc.ents), lost + len(given) - len(doc.ents)
    with replacing(path) as partial:
        docs.to_disk(partial)
    return Written(count, spans, lost)
