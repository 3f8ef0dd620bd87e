"""Labelled texts of which parts are marked: a column of spans, in offsets of characters, or tokens with tags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Span

from .given.answers import Fault, Wanted
from .given.detect import is_tagged
from .given.from_texts import read_conll
from .labelled import LabelledColumns, rows_with
from .reading import NOTHING_SAID, ReadingOptions
from .rows import Row, Table, first_few
from .sources import find_source
from .span_examples import SpanExamples, fault_of, trimmed
from .tables import at_cell, cell_text, open_table

NAMED = 3
"""Marks that are named with what is wrong with them."""
STARTS, ENDS, LABELS = ("start", "start_offset", "begin"), ("end", "end_offset"), ("label", "labels", "tag", "type")
FORM = 'write a list like [{"start": 0, "end": 5, "label": "name"}], or [] where nothing is to be marked'


@dataclass
class MarkedRows:
    """Texts with their spans, as they were read.

    ``groups`` are empty where there is no such column. ``blank`` rows had no text and ``unlabelled`` ones no list of
    spans: both were left out. ``faulty``: marks that were left out, each with its place and what is wrong with it.
    """

    name: str
    texts: list[Readable] = field(default_factory=list)
    spans: list[tuple[Span, ...]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    blank: int = 0
    unlabelled: int = 0
    faulty: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def all_remarks(self) -> list[str]:
        """What a reader has to know of what was read, and of what was left out."""
        parts = [f"{self.blank:,} rows without text"] * bool(self.blank)
        parts += [f"{self.unlabelled:,} rows without spans"] * bool(self.unlabelled)
        found = [f"left out: {' and '.join(parts)}"] if parts else []
        if self.faulty:
            found.append(f"left out: {len(self.faulty):,} marks: {first_few(self.faulty, NAMED)}")
        return [*found, *self.remarks]

    def digest(self) -> str:
        """A hash of texts, spans, groups and splits, in their order."""
        found = hashlib.sha256()
        for text, spans, *rest in zip(self.texts, self.spans, self.groups, self.splits, strict=True):
            marked = [[span.start, span.end, span.label] for span in spans]
            found.update(json.dumps([text, marked, *rest]).encode() + b"\n")
        return found.hexdigest()

    def where(self, wanted: Sequence[str], column: str | None) -> MarkedRows:
        """The rows of which the split is among ``wanted``. Raises DataError, see LabelledRows.where."""
        kept = rows_with(self.splits, wanted, self.name, column)
        part = MarkedRows(self.name, blank=self.blank, unlabelled=self.unlabelled)
        part.faulty, part.remarks = self.faulty, self.remarks
        for column in ("texts", "spans", "groups", "splits"):
            setattr(part, column, [getattr(self, column)[at] for at in kept])
        return part

    def examples(self, labels: Sequence[str], grouped: bool) -> SpanExamples:
        """The rows as examples; rows with an empty group are a group of their own."""
        codes = None
        if grouped:
            names = {name: at for at, name in enumerate(dict.fromkeys(self.groups)) if name}
            codes = np.array([names.get(name, len(names) + 1 + at) for at, name in enumerate(self.groups)], np.int64)
        return SpanExamples(tuple(self.texts), tuple(self.spans), tuple(labels), codes)


def labels_in(*parts: MarkedRows) -> tuple[str, ...]:
    """All labels that occur, sorted. Raises DataError for none."""
    found = {span.label for part in parts for spans in part.spans for span in spans}
    if not found:
        raise DataError(f"{parts[0].name}: nothing is marked in any text; {FORM}")
    return tuple(sorted(found))


def read_marked(source: str, columns: LabelledColumns, options: ReadingOptions = NOTHING_SAID) -> MarkedRows:
    """Read ``source``, anything that open_table opens; ``columns.label`` is the column with the spans.

    A cell holds a list, or its JSON: of objects with start, end and label (doccano's and Label Studio's names for them
    too), or of [start, end, label]. An empty list says that nothing is to be marked, an empty cell that nobody looked.
    White space at the ends of a mark means nothing; marks that are empty or reach out of their text are left out.
    Without a column of texts, ``source`` has a token and its tag in each line; see read_conll.
    Raises DataError that names the file, the row and the fix: for a missing column, and what is no list of spans.
    """
    if not columns.text:
        return _read_tagged(source, options)
    table = open_table(source, columns.all(), options)
    found = MarkedRows(table.name)
    for row in table.rows:
        text = cell_text(table, row, columns.text)
        if not text.strip():
            found.blank += 1
            continue
        marked = _marked(table, row, columns.label)
        if marked is None:
            found.unlabelled += 1
            continue
        found.texts.append(text)
        found.spans.append(_fitting(found, f"{table.name}:{row.number}", marked, text))
        found.groups.append(cell_text(table, row, columns.group).strip() if columns.group else "")
        found.splits.append(cell_text(table, row, columns.split).strip() if columns.split else "")
    if not found.texts:
        raise DataError(
            f"{table.name}: no row has both a text and spans ({found.blank} without text, {found.unlabelled} without "
            f"spans); {FORM}"
        )
    found.remarks = table.remarks()
    return found


def _read_tagged(source: str, options: ReadingOptions) -> MarkedRows:
    """A sentence is a text. Raises DataError for what is no file of tokens and tags, and for a line without a tag."""
    file = find_source(source)
    if file is None:
        raise DataError(f"{source}: there is no such file")
    if not is_tagged(source, options):
        raise DataError(
            f"{source}: no tokens with tags (CoNLL) can be read from it: a token and its tag like B-NAME or O are "
            "expected in each line; for a table, name the column with the texts"
        )
    reading = read_conll(file, Wanted("", (), {}, marks=True, options=options))
    found = MarkedRows(reading.name)
    for one in reading.rows:
        if isinstance(one, Fault):
            raise DataError(f"{reading.name}:{one.number}: {one.reason}")
        found.texts.append(one.text or "")
        found.spans.append(tuple(span for span in one.value if isinstance(span, Span)))
    found.groups = [""] * len(found.texts)
    found.splits = [""] * len(found.texts)
    found.remarks = reading.remarks
    if not found.texts:
        raise DataError(f"{reading.name}: there is no sentence in it")
    return found


def _fitting(found: MarkedRows, where: str, marked: Sequence[Span], text: str) -> tuple[Span, ...]:
    """Those of ``marked`` that mark something of ``text``, without white space at their ends, each once."""
    faults = [fault_of(span, text) for span in marked]
    found.faulty += [f"{where}: {fault}" for fault in faults if fault]
    kept = [trimmed(span, text) for span, fault in zip(marked, faults, strict=True) if not fault]
    return tuple(dict.fromkeys(kept))


def _marked(table: Table, row: Row, column: str) -> list[Span] | None:
    """The spans in a cell; None where there is nothing."""
    value = row.values.get(column)
    try:
        if isinstance(value, str):
            if not value.strip():
                return None
            value = json.loads(value)
        if value is None or value != value:  # pandas' way to say that there is nothing
            return None
        if hasattr(value, "tolist"):  # of a Parquet file
            value = value.tolist()
        if not isinstance(value, list):
            raise DataError(f"holds {value!r:.60}, and no list of spans; {FORM}")
        return [_span(one) for one in value]
    except ValueError:
        raise at_cell(table, row, column, DataError(f"holds {value!r:.60}, which is no JSON; {FORM}")) from None
    except DataError as error:
        raise at_cell(table, row, column, error) from None


def _span(given: Any) -> Span:
    if isinstance(given, Mapping):
        start, end, label = (
            next((given[name] for name in names if name in given), None) for names in (STARTS, ENDS, LABELS)
        )
    elif isinstance(given, (list, tuple)) and len(given) == 3:
        start, end, label = given
    else:
        start = end = label = None
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in (start, end))
    if not whole or not isinstance(label, str) or not label.strip():
        raise DataError(f"holds {given!r:.60}, and a span needs whole numbers start and end, and a label; {FORM}")
    return Span(start, end, label.strip())  # type: ignore[arg-type]  # whole numbers
