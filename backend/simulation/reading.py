"""Labelled records for a back-test: one right answer each, or the answers of several annotators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.consensus import majority_labels
from nextlabel.backend.annotators.opinions import from_rows
from nextlabel.backend.data.labelled import LabelledColumns, LabelledRows, labels_of, read_labelled
from nextlabel.backend.data.tables import Row, Table, cell_text, open_table
from nextlabel.connectors.errors import DataError

from .data import NO_ANSWER


@dataclass(frozen=True, slots=True)
class Asked:
    """Where the answers are.

    ``columns.label`` holds the right label, or with ``annotator`` (a column that names who answered) one answer per
    row, rows with the same text being answers to one record. ``annotators`` names a column per annotator instead, each
    entry a name or a pattern like ``a*``; an empty cell means that this annotator was not asked.
    """

    columns: LabelledColumns
    annotators: tuple[str, ...] = ()
    annotator: str | None = None


@dataclass
class Answered:
    """Records as read. ``rows`` holds each record once, with the majority as its label; ``votes`` all answers to it.

    ``votes`` is empty where every record has one right answer. ``tied`` records have no majority: see
    majority_labels for the answer that stands in.
    """

    rows: LabelledRows
    votes: list[tuple[str, ...]] = field(default_factory=list)
    tied: int = 0

    def labels(self) -> tuple[str, ...]:
        """All labels that occur in any answer, in their order. Raises DataError for fewer than two."""
        return labels_of(replace(self.rows, labels=self.votes) if self.votes else self.rows)

    def disagreements(self) -> int:
        """Records of which the annotators say different things."""
        return sum(len(set(votes)) > 1 for votes in self.votes)

    def answers(self, labels: Sequence[str]) -> npt.NDArray[np.int64]:
        """int64 [n, a], packed to the left and filled with -1; only for records with ``votes``."""
        places = {label: at for at, label in enumerate(labels)}
        table = np.full((len(self.votes), max(map(len, self.votes))), NO_ANSWER, np.int64)
        for at, votes in enumerate(self.votes):
            table[at, : len(votes)] = [places[vote] for vote in votes]
        return table


def read_answers(source: str, asked: Asked, *, split: str = "train") -> Answered:
    """Read ``source``, anything that :func:`nextlabel.backend.data.tables.open_table` opens.

    Raises DataError: for a missing column with the nearest that is there, or if no record has a text and an answer.
    """
    if not asked.annotators and asked.annotator is None:
        return Answered(read_labelled(source, asked.columns, split=split))
    columns = asked.columns
    wanted = [*columns.all(), *([asked.annotator] if asked.annotator else [])]
    wanted += [name for name in asked.annotators if not _is_pattern(name)]
    table = open_table(source, wanted, split)
    rows = LabelledRows(table.name, remark=table.remark)
    given: list[dict[str, str]] = []
    for text, row, answers in _records(table, asked, rows):
        if text is not None:
            rows.texts.append(text)
            rows.groups.append(cell_text(table, row, columns.group).strip() if columns.group else "")
            rows.splits.append(cell_text(table, row, columns.split).strip() if columns.split else "")
            given.append(answers)
    if not given:
        raise DataError(
            f"{table.name}: no row has both a text and an answer ({rows.blank} without text, {rows.unlabelled} without "
            "answer)"
        )
    found = Answered(rows, [tuple(answers.values()) for answers in given])
    labels = sorted({vote for votes in found.votes for vote in votes})
    number = {label: at for at, label in enumerate(labels)}
    opinions = from_rows(
        [(at, who, number[vote]) for at, answers in enumerate(given) for who, vote in answers.items()],
        len(given),
        labels,
    )
    rows.labels.extend((labels[at],) for at in majority_labels(opinions))
    found.tied = int(((opinions.votes == opinions.votes.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())
    return found


def _records(table: Table, asked: Asked, rows: LabelledRows) -> Iterator[tuple[str | None, Row, dict[str, str]]]:
    """Text, row and answers by annotator of every record. A text of None: more answers to an earlier record."""
    names = _matching(table, asked) if asked.annotators else []
    earlier: dict[str, dict[str, str]] = {}
    for row in table.rows:
        text = cell_text(table, row, asked.columns.text)
        if not text.strip():
            rows.blank += 1
            continue
        if asked.annotator is None:
            answers = {name: answer for name in names if (answer := cell_text(table, row, name).strip())}
        else:
            answer = cell_text(table, row, asked.columns.label).strip()
            answers = {cell_text(table, row, asked.annotator).strip(): answer} if answer else {}
        if not answers:
            rows.unlabelled += 1
        elif asked.annotator is not None and text in earlier:
            earlier[text].update(answers)  # an annotator's later answer replaces the earlier one
        else:
            earlier[text] = answers
            yield text, row, answers


def _matching(table: Table, asked: Asked) -> list[str]:
    """The columns that are annotators. Raises DataError for a pattern that none matches."""
    known = {asked.columns.text, asked.columns.group, asked.columns.split}
    found: list[str] = []
    for pattern in asked.annotators:
        names = [name for name in table.columns if fnmatchcase(name, pattern) and name not in known]
        if not names:
            columns = ", ".join(repr(name) for name in table.columns[:20])
            raise DataError(f"{table.name}:1: no column fits {pattern!r}; columns found: {columns}")
        found += [name for name in names if name not in found]
    return found


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")
