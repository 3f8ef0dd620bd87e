"""Texts with marked spans, from JSON lines of {text, spans} or the JSON of restaurant8k."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nextlabel.backend.data.span_examples import SpanExamples, fault_of
from nextlabel.backend.data.tables import open_table
from nextlabel.connectors.content import Content, Readable
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Span

Rows = Iterable[tuple[str, str, list[Span], str]]  # place, text, spans, context


def read_spans(source: str | Path, *, text: str = "text", spans: str = "spans", context: str = "") -> SpanExamples:
    """Read ``source``: one JSON object a line, or one list in the form of restaurant8k (Coope et al., 2020).

    JSON lines (and Parquet) hold the text in the column ``text`` and a list of {start, end, label} in ``spans``, and
    may hold a second text that is read beside it in ``context``. Of restaurant8k, what was asked for in the turn
    before (``requestedSlots``) becomes the context.

    Raises DataError that names the file, the line and the fix, for spans too that their text can't have.
    """
    path = Path(source)
    rows = _dialogues(path) if _is_list(path) else _lines(str(source), text, spans, context)
    texts: list[Readable] = []
    found = []
    for where, content, marked, beside in rows:
        for span in marked:
            if fault := fault_of(span, content):
                raise DataError(f"{where}: {fault}")
        texts.append(Content(content, context=beside) if beside else content)
        found.append(tuple(marked))
    labels = sorted({span.label for marked in found for span in marked})
    return SpanExamples(tuple(texts), tuple(found), tuple(labels))


def _is_list(path: Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _lines(source: str, text: str, spans: str, context: str) -> Rows:
    table = open_table(source, [text, *([context] if context else [])])
    for row in table.rows:
        where = f"{table.name}:{row.number}"
        content, beside = row.values.get(text), (row.values.get(context) or "") if context else ""
        if not isinstance(content, str) or not isinstance(beside, str):
            raise DataError(f"{where}: the column {text if isinstance(beside, str) else context!r} must hold a text")
        marked = row.values.get(spans)
        if marked is not None and not isinstance(marked, list):
            raise DataError(f"{where}: {spans!r} must be a list of {{start, end, label}}")
        yield where, content, [_span(where, item, "start", "end", "label") for item in marked or ()], beside


def _dialogues(path: Path) -> Rows:
    try:
        turns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read as JSON: {error}") from None
    for number, turn in enumerate(turns, start=1):
        where = f"{path}: item {number}"
        said = turn.get("userInput") if isinstance(turn, dict) else None
        if not isinstance(said, dict) or not isinstance(said.get("text"), str):
            raise DataError(
                f"{where}: a list must hold {{userInput: {{text}}, labels}}; else write one object per line"
            )
        marked = []
        for label in turn.get("labels") or ():
            place = label.get("valueSpan") if isinstance(label, dict) else None
            if not isinstance(place, dict):
                raise DataError(f"{where}: a label must be {{slot, valueSpan: {{startIndex, endIndex}}}}")
            # An index of 0 is left out of the file, as its maker's JSON writer does.
            flat = {"startIndex": 0, **place, "slot": label.get("slot")}
            marked.append(_span(where, flat, "startIndex", "endIndex", "slot"))
        asked = (turn.get("context") or {}).get("requestedSlots") or ()
        yield where, said["text"], marked, ", ".join(str(slot).replace("_", " ") for slot in asked)


def _span(where: str, item: Any, start: str, end: str, label: str) -> Span:
    values = [item.get(key) for key in (start, end, label)] if isinstance(item, dict) else [None] * 3
    low, high, name = values
    if type(low) is not int or type(high) is not int or not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: a span needs whole numbers {start!r} and {end!r} and a {label!r}, found {item!r}")
    return Span(low, high, name)
