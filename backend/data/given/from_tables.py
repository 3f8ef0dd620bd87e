"""Answers in a table: one label column, a column per annotator, or a row per answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from nextlabel.backend.data.cells import LabelReader, label_text
from nextlabel.backend.data.flags import FlagReader
from nextlabel.backend.data.rows import Row, Table
from nextlabel.backend.data.tables import check_columns, matching
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import AnnotationStatus, Value

from .answers import (
    FAULTS,
    FORMATS,
    OUR_SEPARATOR,
    Fault,
    Found,
    GivenRow,
    Reading,
    Wanted,
    cell_value,
    counted,
    moment,
    names_in,
    why,
)

LABELS: Final = ("label", "labels", "answer", "spans", "entities")
"""What a column of answers is mostly called, after the question itself."""
ANNOTATORS: Final = ("annotator", "annotator_id", "worker", "worker_id", "user", "rater")
TIMES: Final = ("answered_at", "updated_at", "time", "timestamp", "created_at", "date")
IDS: Final = ("uid", "nextlabel_uid", "external_id")
"""What a column is called that has a record's name, besides the one that the recipe names."""
STATUS: Final = "status"
SKIPPED: Final = {"skipped", "discarded", "ignore", "cancelled"}
UNFINISHED: Final = {"draft", "pending"}


def read_table(table: Table, wanted: Wanted, format_: str) -> Reading:
    """The answers in ``table``. Raises DataError for columns that are missing, or can't be guessed."""
    reading = Reading(table.name, format_, table.what)
    if wanted.annotator_columns:
        names = matching(table, wanted.annotator_columns, wanted.id or "")
        reading.form = f"{FORMATS[format_]} with a column per annotator: {', '.join(names)}"
        columns = [(name, name) for name in names]
    else:
        column = _label_column(table, wanted)
        columns = [(column, "")]
        reading.form = f"{FORMATS[format_]}, answers in {column or ', '.join(wanted.flags)!r}"
    taken = _Columns(table, wanted, format_)
    reading.form += "".join(f", {what} in {name!r}" for what, name in taken.named() if name)
    labels = LabelReader(tuple(wanted.labels))
    flags = FlagReader(wanted.flags)

    def rows() -> Iterator[Found]:
        for row in table.rows:
            for column, who in columns:
                found = _answer(table, row, column, who, taken, labels, flags)
                yield from counted([found], reading)
        reading.remarks += [*labels.remarks(), *flags.remarks(table.what), *table.remarks()]

    reading.rows = rows()
    return reading


class _Columns:
    """Which column of a table is what."""

    def __init__(self, table: Table, wanted: Wanted, format_: str) -> None:
        self.wanted = wanted
        if format_ == "nextlabel" and wanted.separator is None and wanted.several:
            self.wanted = replace(wanted, separator=OUR_SEPARATOR)
        given = [name for name in (wanted.annotator, wanted.time, wanted.id if wanted.id_said else None) if name]
        check_columns(table, given)
        several = bool(wanted.annotator_columns)
        self.annotator = wanted.annotator or ("" if several else _guess(table, ANNOTATORS))
        self.time = wanted.time or _guess(table, TIMES)
        self.status = _guess(table, (STATUS,)) if format_ == "nextlabel" else ""
        self.ids = [name for name in (wanted.id, *IDS) if name and name in table.columns]
        if not self.ids and not any(_has(table, wanted, name) for name in wanted.fields):
            shown = ", ".join(wanted.fields.values())
            raise DataError(
                f"{table.name}: nothing in it says which records the answers are about: the columns {shown} are "
                f"missing, and so is one with ids; name that with --id. Columns found: {', '.join(table.columns[:20])}"
            )

    def named(self) -> list[tuple[str, str]]:
        """What was found where, for people."""
        return [("annotators", self.annotator), ("times", self.time), ("ids", ", ".join(self.ids))]


def _has(table: Table, wanted: Wanted, name: str) -> bool:
    return wanted.fields[name] in table.columns or name in table.columns


def _guess(table: Table, names: Sequence[str]) -> str:
    return next((name for name in names if name in table.columns), "")


def _label_column(table: Table, wanted: Wanted) -> str:
    """The column of the answers; empty where there is one for each label. Raises DataError if it can't be told."""
    if wanted.flags:
        check_columns(table, wanted.flags)
        return ""
    if wanted.label:
        check_columns(table, (wanted.label,))
        return wanted.label
    shown = set(wanted.fields.values())
    found = [name for name in (wanted.question, *LABELS) if name in table.columns and name not in shown]
    if not found:
        raise DataError(
            f"{table.name}: which column has the answers? Name it with --label, or name a column per annotator with "
            f"--annotator-columns; columns found: {', '.join(map(repr, table.columns[:20]))}"
        )
    return found[0]


def _answer(
    table: Table, row: Row, column: str, who: str, taken: _Columns, labels: LabelReader, flags: FlagReader
) -> Found | None:
    wanted = taken.wanted
    try:
        status = _status(row.values, taken.status)
        if status is None:
            return None
        value: Value | None
        if column:
            value = cell_value(row.values.get(column), wanted, labels)
        else:
            marked = flags.read(table, row)
            value = None if marked is None or not (marked or wanted.several) else tuple(marked)
        if status is AnnotationStatus.SKIPPED:
            value = ()
        if value is None:
            return None
        annotator = who or (label_text(row.values.get(taken.annotator)) if taken.annotator else "")
        if taken.annotator and not annotator:
            raise ValueError(f"nobody is named in the column {taken.annotator!r}")
        when = moment(row.values.get(taken.time)) if taken.time else None
    except FAULTS as error:
        return Fault(row.number, why(error))
    ids = names_in(*(row.values.get(name) for name in taken.ids))
    return GivenRow(row.number, ids, row.values, value, annotator, status, when)


def _status(values: Mapping[str, object], column: str) -> AnnotationStatus | None:
    said = str(values.get(column) or "").lower() if column else ""
    if said in UNFINISHED:
        return None
    return AnnotationStatus.SKIPPED if said in SKIPPED else AnnotationStatus.SUBMITTED
