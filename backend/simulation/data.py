"""What is replayed: labelled records as they are read, and as vectors with what is true and what people answered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Activation, Targets, activation_of
from nextlabel.backend.annotators.consensus import majority_labels
from nextlabel.backend.annotators.opinions import from_rows
from nextlabel.backend.data.cells import MISSING, LabelReader
from nextlabel.backend.data.label_checks import refuse_labels
from nextlabel.backend.data.labelled import LabelledColumns, LabelledRows, labels_of, read_labelled, rows_with
from nextlabel.backend.data.reading import NOTHING_SAID, ReadingOptions
from nextlabel.backend.data.tables import Row, Table, at_cell, cell_label, cell_text, open_table
from nextlabel.backend.files import atomic_path
from nextlabel.connectors.content import Readable, says_nothing
from nextlabel.connectors.errors import DataError, LearningError

NO_ANSWER = -1
_NAMES = LabelReader(MISSING)  # a record may be called NA


@dataclass(frozen=True)
class Material:
    """Records with their answers; processes share it by mapping its files.

    ``vectors``: floating [n, d], rows of length 1, mostly float16 as in the embedding cache. ``anchors``: float32
    [c, d], a vector per label. ``truth``: int64 [n], or bool [n, c] where a record may have several labels: what models
    are tested against. ``answers``: int64 [n, a], the answers of up to ``a`` annotators, packed to the left and
    filled with -1, or bool [n, 1, c]: what models learn from. ``people``: int64 [n, a], who gave each of them, from 0
    on; without it nobody can be told from anybody, and each record is asked about once. ``groups``: int64 [n], never
    split between the records to choose from and those to test on. ``tested``: bool [n], which records are tested on
    in every seed; without it, each seed draws its own. Raises LearningError if shapes don't fit together.
    """

    vectors: npt.NDArray[Any]
    anchors: npt.NDArray[np.float32]
    truth: Targets
    answers: npt.NDArray[Any]
    groups: npt.NDArray[np.int64] | None = None
    tested: npt.NDArray[np.bool_] | None = None
    people: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows, classes = len(self.vectors), len(self.anchors)
        if self.vectors.ndim != 2 or self.anchors.shape[1:] != self.vectors.shape[1:]:
            raise LearningError(f"vectors {self.vectors.shape} don't go with anchors {self.anchors.shape}")
        if self.truth.shape != self.activation.shape(rows, classes):
            raise LearningError(f"{rows} records don't go with truth {self.truth.shape}")
        if self.answers.shape[:1] + self.answers.shape[2:] != self.truth.shape or self.answers.ndim < 2:
            raise LearningError(f"{rows} records don't go with answers {self.answers.shape}")
        if (self.answers[:, 0] == NO_ANSWER).any():
            raise LearningError("a record without any answer can't be asked about; leave it out")
        if self.people is not None and self.people.shape != self.answers.shape:
            raise LearningError(f"answers {self.answers.shape} don't go with people {self.people.shape}")
        for name in ("groups", "tested"):
            column = getattr(self, name)
            if column is not None and column.shape != (rows,):
                raise LearningError(f"{rows} records don't go with {name} {column.shape}")

    @property
    def activation(self) -> Activation:
        """Whether a record has one label, or may have several."""
        return activation_of(self.truth)

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.anchors)

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def digest(self) -> str:
        """A hash of everything in it."""
        found = hashlib.sha256()
        for name, array in self._arrays().items():
            found.update(f"{name} {array.dtype} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it to ``folder``, a file an array, each whole or not at all."""
        for name, array in self._arrays().items():
            with atomic_path(folder / f"{name}.npy") as path, path.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Material:
        """What ``save`` wrote, mapped into memory and read-only."""
        found: dict[str, Any] = {
            one.name: np.load(path, mmap_mode="r", allow_pickle=False)
            for one in fields(cls)
            if (path := folder / f"{one.name}.npy").exists()
        }
        return cls(**found)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: array for name, array in named.items() if array is not None}


@dataclass(frozen=True, slots=True)
class Asked:
    """Where the answers are.

    ``columns.label`` holds the right label, or with ``annotator`` (a column that names who answered) one answer per
    row, rows with the same text being answers to one record, or those with the same ``id`` (a column). ``annotators``
    names a column per annotator instead, each entry a name or a pattern like ``a*``; an empty cell means that this
    annotator was not asked.
    """

    columns: LabelledColumns
    annotators: tuple[str, ...] = ()
    annotator: str | None = None
    id: str | None = None


@dataclass
class Answered:
    """Records as read. ``rows`` holds each record once, with the majority as its label; ``votes`` all answers to it.

    ``voters``: who gave them, in the same order, that of the file. Both are empty where every record has one right
    answer. ``tied`` records have no majority: see majority_labels for the answer that stands in.
    """

    rows: LabelledRows
    votes: list[tuple[str, ...]] = field(default_factory=list)
    voters: list[tuple[str, ...]] = field(default_factory=list)
    tied: int = 0

    def take(self, kept: Sequence[int]) -> Answered:
        """Some of the records, in the order of ``kept``."""
        votes, voters = ([one[at] for at in kept] if one else [] for one in (self.votes, self.voters))
        return replace(self, rows=self.rows.take(kept), votes=votes, voters=voters)

    def where(self, wanted: Sequence[str], column: str | None) -> Answered:
        """The records of which the split is among ``wanted``. Raises DataError, see LabelledRows.where."""
        return self.take(rows_with(self.rows.splits, wanted, self.rows.name, column))

    def labels(self) -> tuple[str, ...]:
        """All labels that occur in any answer, in their order. Raises DataError for fewer than two."""
        return labels_of(replace(self.rows, labels=self.votes) if self.votes else self.rows)

    def disagreements(self) -> int:
        """Records of which the annotators say different things."""
        return sum(len(set(votes)) > 1 for votes in self.votes)

    def answers(self, labels: Sequence[str]) -> npt.NDArray[np.int64]:
        """int64 [n, a], packed to the left and filled with -1; only for records with ``votes``."""
        return _table(self.votes, labels)

    def people(self) -> npt.NDArray[np.int64]:
        """int64 [n, a]: who gave each of ``answers``, numbered by name."""
        return _table(self.voters, sorted({who for voters in self.voters for who in voters}))


def tested_rows(splits: Sequence[str], parts: tuple[str, str] | None) -> npt.NDArray[np.bool_] | None:
    """bool [n]: the records to test on, of which the split is the second of ``parts``; None where nothing says that."""
    return None if parts is None else np.array([split == parts[1] for split in splits], np.bool_)


def _table(rows: Sequence[Sequence[str]], names: Sequence[str]) -> npt.NDArray[np.int64]:
    places = {name: at for at, name in enumerate(names)}
    table = np.full((len(rows), max(map(len, rows))), NO_ANSWER, np.int64)
    for at, row in enumerate(rows):
        table[at, : len(row)] = [places[one] for one in row]
    return table


def read_answers(source: str, asked: Asked, options: ReadingOptions = NOTHING_SAID) -> Answered:
    """Read ``source``, anything that :func:`nextlabel.backend.data.tables.open_table` opens.

    Raises DataError: for a missing column with the nearest that is there, if no record has a text and an answer, or if
    the answers can be no labels.
    """
    if not asked.annotators and asked.annotator is None:
        return Answered(read_labelled(source, asked.columns, options))
    columns = asked.columns
    wanted = [*columns.all(), *(name for name in (asked.annotator, asked.id) if name)]
    wanted += [name for name in asked.annotators if not _is_pattern(name)]
    table = open_table(source, wanted, options)
    rows = LabelledRows(table.name)
    given: list[dict[str, str]] = []
    reader = LabelReader(columns.verbatim)
    for text, row, answers in _records(table, asked, rows, reader):
        rows.add(table, row, text, columns)
        given.append(answers)
    if not given:
        raise DataError(
            f"{table.name}: no row has both a text and an answer ({rows.blank} without text, {rows.unlabelled} without "
            "answer)"
        )
    rows.remarks = [*reader.remarks(), *table.remarks()]
    found = Answered(rows, [tuple(answers.values()) for answers in given], [tuple(answers) for answers in given])
    labels = sorted({vote for votes in found.votes for vote in votes})
    number = {label: at for at, label in enumerate(labels)}
    opinions = from_rows(
        [(at, who, number[vote]) for at, answers in enumerate(given) for who, vote in answers.items()],
        len(given),
        labels,
    )
    rows.labels.extend((labels[at],) for at in majority_labels(opinions))
    refuse_labels(table.name, columns.label or ", ".join(asked.annotators), rows.labels, several=False)
    found.tied = int(((opinions.votes == opinions.votes.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())
    return found


def _records(
    table: Table, asked: Asked, rows: LabelledRows, reader: LabelReader
) -> Iterator[tuple[Readable, Row, dict[str, str]]]:
    """Text, row and answers by annotator of every record; more answers to an earlier one are added to those."""
    names = _matching(table, asked) if asked.annotators else []
    earlier: dict[Readable, dict[str, str]] = {}
    for row in table.rows:
        text = asked.columns.read(table, row)
        if says_nothing(text):
            rows.blank += 1
            continue
        if asked.annotator is None:
            answers = {name: answer for name in names if (answer := cell_label(table, row, name, reader))}
        else:
            answer = cell_label(table, row, asked.columns.label, reader)
            who = cell_text(table, row, asked.annotator).strip()
            if answer and not who:
                raise at_cell(table, row, asked.annotator, DataError("is empty: an answer needs who gave it"))
            answers = {who: answer} if answer else {}
        key = text if asked.id is None else cell_label(table, row, asked.id, _NAMES)
        if not answers:
            rows.unlabelled += 1
        elif asked.annotator is not None and key in earlier:
            earlier[key].update(answers)  # an annotator's later answer replaces the earlier one
        else:
            earlier[key] = answers
            yield text, row, answers


def _matching(table: Table, asked: Asked) -> list[str]:
    """The columns that are annotators. Raises DataError for a pattern that none matches."""
    known = {asked.columns.text, asked.columns.image, asked.columns.group, asked.columns.split, asked.id}
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
