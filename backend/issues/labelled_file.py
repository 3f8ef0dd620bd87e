"""The answers of a labelled file, as material to look through; every row keeps its place in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from nextlabel.backend.data.examples import read_alike
from nextlabel.backend.data.labelled import (
    LabelledColumns,
    LabelledRows,
    labels_of,
    read_labelled,
    remarks_on_joined,
    to_examples,
)
from nextlabel.backend.data.reading import NOTHING_SAID, ReadingOptions
from nextlabel.backend.data.span_examples import fault_of, trimmed
from nextlabel.backend.data.tables import cell_text, open_table
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.load import remarks_on_cut
from nextlabel.backend.encoders.pictures import read_pictures
from nextlabel.backend.questions import Question, question_of
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span, Value

from .find import Issues
from .material import Indices, Material, VectorSpace, Watch, as_shown, material_of

BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
"""When the first row is taken to be answered: of one annotator's answers to one text, the last row counts."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """``source`` and its ``columns``; with ``marks`` the label column holds lists of marks in the text."""

    source: str
    columns: LabelledColumns
    encoder: EncoderSpec
    marks: bool = False
    reading: ReadingOptions = NOTHING_SAID


@dataclass(frozen=True, slots=True)
class FileMaterial:
    """The ``material`` of a file. ``rows`` int64 [n]: of each record, its first row among ``read``."""

    material: Material
    read: LabelledRows
    rows: Indices
    remarks: tuple[str, ...]

    def place(self, at: int) -> dict[str, int]:
        """Where the row ``at`` of those that were read stands in the file.

        ``index`` counts rows of data from 0; ``row`` as a spreadsheet does: from 1, a header being row 1.
        """
        index = self.read.places[at]
        return {"row": index + self.read.first_row, "index": index}

    def to_json(self, found: Issues, top: int | None = None) -> dict[str, Any]:
        """Plain values, the worst first."""
        cell = found.material.question.in_a_cell
        texts, annotators = self.read.texts, any(self.read.annotators)
        issues = [
            {
                **self.place(one.answer.at),
                **({"annotator": one.answer.annotator} if annotators else {}),
                "given": cell(one.answer.value),
                "suggested": cell(one.suggested),
                "score": one.score,
                "likely": one.likely,
                **as_shown(texts[one.answer.at]),
            }
            for one in found.worst(top)
        ]
        return found.to_json(issues, self._record, self.remarks)

    def _record(self, record: int) -> dict[str, Any]:
        at = int(self.rows[record])
        return {**self.place(at), **as_shown(self.read.texts[at])}


def read_material(wanted: LabelledFile, watch: Watch | None = None) -> FileMaterial:
    """Read and encode a labelled file; ``watch`` is told the texts encoded and in all.

    With an annotator column, rows with the same text, and picture, are answers to one record. Raises DataError,
    ConfigError for pictures and an encoder without eyes, LearningError, and what the encoder raises.
    """
    rows, question, values = _marked(wanted) if wanted.marks else _labelled(wanted)
    folder = (wanted.encoder.cache_dir or Path()) / "embeddings"
    pinned, seen, unread = read_pictures(rows.texts, wanted.encoder, folder, watch)
    if unread:
        kept_rows = seen.tolist()
        rows, values, pinned = rows.take(kept_rows), [values[at] for at in kept_rows], [pinned[at] for at in kept_rows]
    encoder = question.load_encoder(wanted.encoder)
    cache = question.open_cache(folder, encoder)
    record_of = _records(rows, pinned, wanted.columns.annotator)
    first = np.unique(record_of, return_index=True)[1]
    given: list[list[Annotation]] = [[] for _ in first]
    for at, record in enumerate(record_of.tolist()):
        given[record].append(_annotation(at, record, rows.annotators[at], values[at]))
    grouped = wanted.columns.group is not None
    examples = to_examples(replace(rows, texts=pinned, labels=[()] * len(pinned), several=True), ["-"], grouped)
    groups = None if examples.groups is None else examples.groups[first]
    places = {_name(at): at for at in range(len(rows.texts))}
    texts = [pinned[at] for at in first.tolist()]
    space = VectorSpace(encoder, cache)
    material, kept = material_of(question, space, texts, given, groups=groups, places=places, watch=watch)
    remarks = [*unread, *rows.left_out(), *rows.remarks, *remarks_on_joined(examples)]
    remarks += remarks_on_cut(wanted.encoder, texts)
    if repeated := len(rows.texts) - len(material.answers):
        remarks.append(
            f"{repeated:,} answers come after another of the same annotator to the same text: the last counts"
        )
    return FileMaterial(material, rows, first[kept], tuple(remarks))


def _name(at: int) -> str:
    return f"row {at}"


def _annotation(at: int, record: int, annotator: str, value: Value) -> Annotation:
    moment = BEGIN + timedelta(seconds=at)
    return Annotation(_name(at), str(record), annotator, value, AnnotationStatus.SUBMITTED, moment)


def _records(rows: LabelledRows, texts: Sequence[Readable], annotator: str | None) -> Indices:
    """int64 [rows]: the record of each row, in the order of their first rows. Raises DataError without a name.

    ``texts``: what is read of the rows, copies alike.
    """
    if annotator is None:
        return np.arange(len(rows.texts), dtype=np.int64)
    if "" in rows.annotators:
        at = rows.places[rows.annotators.index("")] + rows.first_row
        raise DataError(f"{rows.name}: row {at} has a label and nobody in the column {annotator!r}")
    number: dict[Any, int] = {}
    return np.array([number.setdefault(read_alike(text), len(number)) for text in texts], np.int64)


def _labelled(wanted: LabelledFile) -> tuple[LabelledRows, Question, list[Value]]:
    rows = read_labelled(wanted.source, wanted.columns, wanted.reading)
    kind = LabelKind.MULTI if rows.several else LabelKind.SINGLE
    return rows, question_of(Labeling(kind, labels_of(rows))), list(rows.labels)


def _marked(wanted: LabelledFile) -> tuple[LabelledRows, Question, list[Value]]:
    """Texts with lists of marks: objects with start, end (exclusive) and label, or JSON that says so."""
    columns = wanted.columns
    table = open_table(wanted.source, columns.all(), wanted.reading)
    rows = LabelledRows(table.name, several=True, first_row=2 if table.headed else 1)
    values: list[Value] = []
    for place, row in enumerate(table.rows):
        text = cell_text(table, row, columns.text)
        if not text.strip():
            rows.blank += 1
            continue
        cell = row.values.get(columns.label)
        if cell is None or cell == "":
            rows.unlabelled += 1
            continue
        try:
            marks = _marks(cell, text)
        except DataError as error:
            raise DataError(f"{table.name}:{row.number}: the column {columns.label!r} {error}") from None
        rows.add(table, row, text, columns, place)
        rows.labels.append(tuple(dict.fromkeys(one.label for one in marks)))
        values.append(marks)
    labels = tuple(sorted({label for row in rows.labels for label in row}))
    if not labels:
        raise DataError(f"{table.name}: no text has a mark in the column {columns.label!r}")
    rows.remarks = table.remarks()
    return rows, question_of(Labeling(LabelKind.SPAN, labels)), values


def _marks(cell: Any, text: str) -> tuple[Span, ...]:
    """Raises DataError for what is no list of marks in ``text``."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        found = None
    if not isinstance(found, list | tuple) or not all(isinstance(one, Mapping) for one in found):
        raise DataError('needs a list like [{"start": 0, "end": 5, "label": "NAME"}], [] for no mark')
    marks = []
    for one in found:
        try:
            span = Span(int(one["start"]), int(one["end"]), str(one["label"]).strip())
        except (KeyError, TypeError, ValueError):
            raise DataError(f"has a mark without start, end and label: {json.dumps(one, default=str)}") from None
        if fault := fault_of(span, text):
            raise DataError(f"can't be read: {fault}")
        marks.append(trimmed(span, text))
    return tuple(marks)
