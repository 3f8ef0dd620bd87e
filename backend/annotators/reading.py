"""Opinions from a file: one row per answer, or one column per annotator."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nextlabel.backend.data.tables import Row, Table, check_columns, value_text
from nextlabel.connectors.errors import DataError

from .opinions import Opinions, from_rows


@dataclass(frozen=True, slots=True)
class Votes:
    """Opinions, and the ids of their records in the order of the file."""

    opinions: Opinions
    ids: tuple[str, ...]


def read_rows(
    table: Table, id_column: str, annotator_column: str, label_column: str, labels: Sequence[str] = ()
) -> Votes:
    """One row per answer, such as ``nextlabel export --each`` writes; rows without a label are skips.

    ``labels`` fixes which there are and their order; without it, they are those found, sorted. Raises DataError that
    names the file, the line and the fix: for a missing column, a label not in ``labels``, a second answer.
    """
    _need(table, (id_column, annotator_column, label_column))
    answers = (
        (row, cell(row.values.get(id_column)), cell(row.values.get(annotator_column)), label)
        for row in table.rows
        if (label := cell(row.values.get(label_column)))
    )
    return _gather(table, answers, labels, ())


def read_columns(table: Table, id_column: str, columns: Sequence[str], labels: Sequence[str] = ()) -> Votes:
    """One column per annotator, one row per record; empty cells are no answers.

    ``columns`` are names, or patterns as in ``a*``; the id column is never one of them. Otherwise as read_rows.
    """
    names = matching(table, columns, id_column)
    ids: list[str] = []

    def answers() -> Iterator[tuple[Row, str, str, str]]:
        for row in table.rows:
            record = cell(row.values.get(id_column))
            ids.append(record)
            for name in names:
                if label := cell(row.values.get(name)):
                    yield row, record, name, label

    _need(table, (id_column,))
    return _gather(table, answers(), labels, ids)


def matching(table: Table, columns: Sequence[str], id_column: str = "") -> list[str]:
    """The columns that ``columns`` names or matches, in the order of the table. Raises DataError if one finds none."""
    found: set[str] = set()
    for pattern in columns:
        some = {name for name in table.columns if name != id_column and fnmatch.fnmatchcase(name, pattern)}
        if not some:
            shown = ", ".join(table.columns[:8]) + (", ..." if len(table.columns) > 8 else "")
            raise DataError(f"{table.name}: no column is called {pattern!r}; there are {shown}")
        found |= some
    return [name for name in table.columns if name in found]


def cell(value: Any) -> str:
    """What a cell says, "" for nothing; a whole number that gaps made a float is a whole number again, in text too.

    Raises DataError for several labels in one cell: annotators are compared on single labels.
    """
    try:
        text = value_text(value).strip()
    except DataError as error:
        raise DataError(f"an answer {error}: annotators are compared on single labels") from None
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def _need(table: Table, columns: Sequence[str]) -> None:
    check_columns(table, columns)


def _gather(
    table: Table, answers: Iterator[tuple[Row, str, str, str]], labels: Sequence[str], ids: Sequence[str]
) -> Votes:
    """``ids``: records of which some have no answer; it is filled while ``answers`` are read."""
    place: dict[str, int] = {}
    given: dict[tuple[str, str], str] = {}
    for row, record, annotator, label in answers:
        if not record or not annotator:
            raise DataError(f"{table.name}:{row.number}: an answer needs a record's id and an annotator; one is empty")
        if labels and label not in labels:
            raise DataError(f"{table.name}:{row.number}: the label is {label!r}; it must be one of {', '.join(labels)}")
        if (record, annotator) in given:
            raise DataError(
                f"{table.name}:{row.number}: {annotator!r} answered record {record!r} before; keep the newest answer"
            )
        given[record, annotator] = label
        place.setdefault(record, len(place))
    for record in ids:
        place.setdefault(record, len(place))
    names = list(labels) or sorted(set(given.values()))
    rows = [(place[record], who, names.index(label)) for (record, who), label in given.items()]
    return Votes(from_rows(rows, len(place), names), tuple(place))
