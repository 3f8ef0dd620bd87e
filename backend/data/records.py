"""From rows to records: stable ids, blank rows left out, repeated ones noticed, everything streamed.

Texts with marked spans come from JSON lines of {text, spans}, or from the JSON of restaurant8k.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Record, Span

from .image_rules import ImageRules, UnreadableImage
from .images import Known, image_source, known_by, no_records, with_images
from .span_examples import SpanExamples, fault_of
from .tables import Row, Table, cell_text, check_columns, open_table

# Databases refuse NUL, encoders of text refuse half a surrogate pair.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_SHOWN: Final = 5
Rows = Iterable[tuple[str, str, list[Span], str]]  # place, text, spans, context


@dataclass
class ReadReport:
    """What happened while reading. Filled as records are taken from the iterator.

    ``blank`` rows had no text and were left out; ``repeated`` ones had an id and a content seen before; ``unseen``
    ones an image that can't be read; ``repaired`` ones held characters that can't be stored. Each lists row numbers,
    ``remarks`` sentences.
    """

    records: int = 0
    blank: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    repaired: list[int] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    what: str = "line"

    def lines(self) -> list[str]:
        """The report in sentences, the record count first."""
        sentences = [f"{self.records:,} records read"]
        for numbers, text in (
            (self.blank, "without text, left out"),
            (self.repeated, "repeating an id and its content, left out"),
            (self.unseen, "with an image that can't be read, left out"),
            (self.repaired, "with characters that can't be stored, replaced by U+FFFD"),
        ):
            if numbers:
                shown = ", ".join(map(str, numbers[:_SHOWN])) + (", …" if len(numbers) > _SHOWN else "")
                plural = "s" if len(numbers) > 1 else ""
                sentences.append(f"{len(numbers):,} {self.what}{plural} {text} ({self.what} {shown})")
        return sentences + self.remarks


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what. ``fields`` maps each field of the labeling to its column; ``images`` names those of images.

    ``answer`` is the column with the true label, for demos and simulations; it never reaches the platform.
    """

    fields: Mapping[str, str]
    id: str | None = None
    metadata: Sequence[str] = ()
    answer: str | None = None
    images: frozenset[str] = frozenset()

    def all(self) -> list[str]:
        """Every column that must exist."""
        optional = [column for column in (self.id, self.answer) if column]
        return list(dict.fromkeys([*self.fields.values(), *optional, *self.metadata]))


def read_records(
    source: str | Table,
    columns: Columns,
    *,
    split: str = "train",
    report: ReadReport | None = None,
    rules: ImageRules | None = None,
    known: Known = no_records,
) -> Iterator[Record]:
    """Records of ``source`` (see :func:`nextlabel.backend.data.tables.open_table`), or of an open table, in its order.

    The uid is the id column, or a hash of the content (with -2, -3 ... for later rows of the same content). Images in
    files that ``rules`` let be read, or given as bytes, become data: URLs that annotators can be shown; a ``known``
    record keeps the one that it has.
    Raises DataError that names the file, the line and the fix: at once for a missing column, else on the way.
    """
    table = _opened(source, columns, split)
    report = ReadReport() if report is None else report
    report.what = table.what
    if table.remark:
        report.remarks.append(f"{table.name}: {table.remark}")
    rows = _walk(table, columns, report)
    if columns.images:
        images = {name: column for name, column in columns.fields.items() if name in columns.images}
        rows = with_images(rows, images, rules or ImageRules(), partial(_leave_out, table, report), known)
    return counted((record for _, record in rows), report)


def counted(records: Iterable[Record], report: ReadReport) -> Iterator[Record]:
    """``records``, each counted in ``report`` as it is taken."""
    for record in records:
        report.records += 1
        yield record


def read_answers(source: str | Table, columns: Columns, *, split: str = "train") -> dict[str, str]:
    """The true label by uid, of the rows that have one. Raises DataError as read_records does."""
    if columns.answer is None:
        name = source.name if isinstance(source, Table) else source
        raise DataError(f"{name}: no column with the true answers is named")
    table = _opened(source, columns, split)
    answers = {}
    for row, record in _walk(table, columns, ReadReport()):
        if answer := cell_text(table, row, columns.answer).strip():
            answers[record.uid] = answer
    return answers


def _leave_out(table: Table, report: ReadReport, row: Row, error: UnreadableImage) -> None:
    """Note a row whose image can't be read; why, of the first."""
    if not report.unseen:
        report.remarks.append(f"{table.name}:{row.number}: {error}")
    report.unseen.append(row.number)


def _opened(source: str | Table, columns: Columns, split: str) -> Table:
    if not isinstance(source, Table):
        return open_table(source, columns.all(), split)
    check_columns(source, columns.all())
    return source


def _walk(table: Table, columns: Columns, report: ReadReport) -> Iterator[tuple[Row, Record]]:
    seen: dict[str, tuple[str, int]] = {}  # uid -> content hash, row number
    times: dict[str, int] = {}  # content hash -> rows with it, where the content makes the id
    for row in table.rows:
        fields = {
            name: (_image if name in columns.images else _text)(table, row, column)
            for name, column in columns.fields.items()
        }
        if any(_UNSTORABLE.search(text) for text in fields.values()):
            fields = {name: _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text) for name, text in fields.items()}
            report.repaired.append(row.number)
        if not any(text.strip() for text in fields.values()):
            report.blank.append(row.number)
            continue
        metadata = {column: _plain(row.values.get(column)) for column in columns.metadata}
        record = Record(uid="", fields=fields, metadata=metadata)
        content = record.content_hash()
        if columns.id is None:
            times[content] = times.get(content, 0) + 1
            uid = content if times[content] == 1 else f"{content}-{times[content]}"
        else:
            uid = _text(table, row, columns.id).strip()
            if not uid:
                raise DataError(f"{table.name}:{row.number}: the id column {columns.id!r} is empty here")
            if uid in seen:
                if seen[uid][0] != content:
                    raise DataError(
                        f"{table.name}:{row.number}: the id {uid!r} is already that of {table.what} {seen[uid][1]}, "
                        f"with another content; ids must be unique (drop the id setting to have them made)"
                    )
                report.repeated.append(row.number)
                continue
            seen[uid] = (content, row.number)
        yield row, Record(uid=uid, fields=fields, metadata=metadata)


def _text(table: Table, row: Row, column: str) -> str:
    """A cell of a record or its id. Records are known by these, so they stay as earlier versions wrote them."""
    return cell_text(table, row, column, whole=False)


def _image(table: Table, row: Row, column: str) -> str:
    """What the image is known by."""
    source = image_source(value := row.values.get(column))
    if source is None:
        raise DataError(
            f"{table.name}:{row.number}: the column {column!r} holds a {type(value).__name__}; the address of "
            "an image, or its bytes, is expected"
        )
    return known_by(source)


def _plain(value: Any) -> Any:
    """``value`` as JSON can say it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))


def read_spans(source: str | Path, *, text: str = "text", spans: str = "spans", context: str = "") -> SpanExamples:
    """Read ``source``: one JSON object a line, or one list in the form of restaurant8k (Coope et al., 2020).

    JSON lines (and Parquet) hold the text in the column ``text`` and a list of {start, end, label} in ``spans``, and
    may hold a second text that is read beside it in ``context``. Of restaurant8k, what was asked for in the turn
    before (``requestedSlots``) becomes the context.

    Raises DataError that names the file, the line and the fix, for spans too that their text can't have.
    """
    path = Path(source)
    rows = _dialogues(path) if _is_list(path) else _lines(str(source), text, spans, context)
    texts, found, contexts = [], [], []
    for where, content, marked, beside in rows:
        for span in marked:
            if fault := fault_of(span, content):
                raise DataError(f"{where}: {fault}")
        texts.append(content)
        found.append(tuple(marked))
        contexts.append(beside)
    labels = sorted({span.label for marked in found for span in marked})
    return SpanExamples(tuple(texts), tuple(found), tuple(labels), tuple(contexts) if any(contexts) else None)


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
