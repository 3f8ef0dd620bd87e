"""Who said what about which record, in three columns: from the annotation log, or from a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import activation_of
from nextlabel.backend.data.cells import MISSING, LabelReader, values_in
from nextlabel.backend.data.tables import Row, Table, at_cell, cell_label, check_columns, matching
from nextlabel.connectors.errors import DataError, LearningError
from nextlabel.connectors.records import Annotation, AnnotationStatus

Indices = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_NAMES = LabelReader(MISSING)  # somebody may be called NA


@dataclass(frozen=True, slots=True)
class Opinions:
    """Answers, one row each, in any order: ``record`` int64 [o] in [0, size), ``annotator`` int64 [o] into the names.

    ``label``: int64 [o] into the names; or, where an answer may have several labels, bool [o, labels]. Methods that
    weigh annotators against each other want single labels: :meth:`about` makes a yes or no of one of several.
    Nobody has two answers about one record. Records without any answer are allowed.
    ``truth`` int64 [size]: the label that settles a record whatever was answered, -1 for none; None: nothing is
    settled. For single labels only.
    Raises LearningError if shapes or values don't fit together.
    """

    record: Indices
    annotator: Indices
    label: npt.NDArray[Any]
    size: int
    annotators: tuple[str, ...]
    labels: tuple[str, ...]
    truth: Indices | None = None

    def __post_init__(self) -> None:
        if self.truth is not None and self.truth.shape != (self.size,):
            raise LearningError(f"truth: there is one for each of {self.size} records, not {list(self.truth.shape)}")
        limits = {"record": self.size, "annotator": len(self.annotators)}
        if not self.several:
            limits["label"] = len(self.labels)
        elif self.label.shape != (len(self.record), len(self.labels)) or self.label.dtype != np.bool_:
            raise LearningError(
                f"label: several labels are bool [{len(self.record)}, {len(self.labels)}], not {self.label.dtype} "
                f"{list(self.label.shape)}"
            )
        for name, limit in limits.items():
            column = getattr(self, name)
            if column.shape != self.record.shape or column.ndim != 1:
                raise LearningError(f"{name}: opinions are three columns of one length, not {list(column.shape)}")
            if len(column) and not 0 <= column.min() <= column.max() < limit:
                raise LearningError(f"{name}: must lie in [0, {limit}), found {column.min()} to {column.max()}")
        pairs = self.record * max(len(self.annotators), 1) + self.annotator
        unique, times = np.unique(pairs, return_counts=True)
        if (times > 1).any():
            record, annotator = divmod(int(unique[times.argmax()]), len(self.annotators))
            raise LearningError(
                f"annotator {self.annotators[annotator]} has {times.max()} answers about record {record}; keep the "
                "newest one"
            )

    def __len__(self) -> int:
        return len(self.record)

    @property
    def several(self) -> bool:
        """Whether an answer may have several labels."""
        return activation_of(self.label).several

    @property
    def per_record(self) -> Indices:
        """int64 [size]: answers about each record."""
        return np.bincount(self.record, minlength=self.size)

    @property
    def per_annotator(self) -> Indices:
        """int64 [annotators]: answers of each annotator."""
        return np.bincount(self.annotator, minlength=len(self.annotators))

    @property
    def votes(self) -> Indices:
        """int64 [size, labels]: how many annotators gave each label. Raises LearningError for several labels."""
        if self.several:
            raise LearningError("annotators are compared on single labels; take one of the several by about()")
        classes = len(self.labels)
        counts = np.bincount(self.record * classes + self.label, minlength=self.size * classes)
        return counts.reshape(self.size, classes)

    def about(self, label: int) -> Opinions:
        """The same answers to the question of one label of several: "no" is 0, "yes" is 1."""
        given = self.label[:, label].astype(np.int64)
        return Opinions(self.record, self.annotator, given, self.size, self.annotators, ("no", "yes"))

    def take(self, records: Sequence[int] | Indices) -> Opinions:
        """The opinions about distinct ``records``, which become 0, 1, 2, ... in the order given."""
        picked = np.asarray(records, np.int64)
        place = np.full(self.size, -1, np.int64)
        place[picked] = np.arange(len(picked))
        kept = place[self.record] >= 0
        return Opinions(
            place[self.record[kept]],
            self.annotator[kept],
            self.label[kept],
            len(picked),
            self.annotators,
            self.labels,
            None if self.truth is None else self.truth[picked],
        )


def from_annotations(
    annotations: Iterable[Annotation],
    position: Mapping[str, int],
    size: int,
    labels: Sequence[str],
    names: Mapping[str, str] = MappingProxyType({}),
    adjudicators: Collection[str] = (),
) -> Opinions:
    """The submitted single-label answers of a log. Skips, drafts, deletions and labels not in ``labels`` don't count.

    ``position`` maps a platform's record id to a row in [0, size); what it doesn't know is left out. Of several
    answers of one annotator to one record, the newest counts. Annotators are called as ``names`` say, or by their id,
    and sorted by that. What ``adjudicators`` (ids) answer is the truth and no opinion: they are nobody's peers.
    """
    number = {label: at for at, label in enumerate(labels)}
    newest: dict[tuple[int, str], int] = {}
    truth = np.full(size, -1, np.int64)
    for one in sorted(annotations, key=lambda one: (one.updated_at, one.id)):
        at = position.get(one.remote_id)
        if at is None or one.status is not AnnotationStatus.SUBMITTED or len(one.value) != 1:
            continue
        label = number.get(str(one.value[0]))
        if label is not None and one.annotator in adjudicators:
            truth[at] = label
        elif label is not None:
            newest[at, names.get(one.annotator, one.annotator)] = label
    found = from_rows([(at, who, label) for (at, who), label in newest.items()], size, labels)
    return replace(found, truth=truth) if (truth >= 0).any() else found


def from_rows(rows: Sequence[tuple[int, str, int]], size: int, labels: Sequence[str]) -> Opinions:
    """Opinions from (record, annotator's name, label) rows; annotators are sorted by name.

    Raises LearningError as Opinions does.
    """
    names = sorted({who for _, who, _ in rows})
    place = {name: at for at, name in enumerate(names)}
    table = np.array([(at, place[who], label) for at, who, label in rows], np.int64).reshape(-1, 3)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    columns = np.ascontiguousarray(table.T)
    return Opinions(columns[0], columns[1], columns[2], size, tuple(names), tuple(labels))


@dataclass(frozen=True, slots=True)
class Votes:
    """Opinions, the ids of their records in the order of the file, and sentences on what was read."""

    opinions: Opinions
    ids: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read_rows(
    table: Table,
    id_column: str,
    annotator_column: str,
    label_column: str,
    labels: Sequence[str] = (),
    verbatim: Collection[str] = (),
) -> Votes:
    """One row per answer, such as ``nextlabel export --each`` writes; rows without a label are skips.

    ``labels`` fixes which there are and their order; without it, they are those found, sorted. ``verbatim`` are
    labels as they stand, though they look like missing ones. Of several answers of one annotator to one record, the
    last row counts. Raises DataError that names the file, the line and the fix: for a missing column, a label not in
    ``labels``.
    """
    check_columns(table, (id_column, annotator_column, label_column))
    reader = LabelReader(verbatim or labels)
    answers = (
        (row, cell_label(table, row, id_column, _NAMES), cell_label(table, row, annotator_column, _NAMES), label)
        for row in table.rows
        if (label := _label(table, row, label_column, reader))
    )
    return _gather(table, answers, labels, (), reader)


def read_columns(
    table: Table,
    id_column: str,
    columns: Sequence[str],
    labels: Sequence[str] = (),
    verbatim: Collection[str] = (),
) -> Votes:
    """One column per annotator, one row per record; empty cells are no answers.

    ``columns`` are names, or patterns as in ``a*``; the id column is never one of them. Otherwise as read_rows.
    """
    names = matching(table, columns, id_column)
    reader = LabelReader(verbatim or labels)
    ids: list[str] = []

    def answers() -> Iterator[tuple[Row, str, str, str]]:
        for row in table.rows:
            record = cell_label(table, row, id_column, _NAMES)
            ids.append(record)
            for name in names:
                if label := _label(table, row, name, reader):
                    yield row, record, name, label

    check_columns(table, (id_column,))
    return _gather(table, answers(), labels, ids, reader)


def _label(table: Table, row: Row, column: str, reader: LabelReader) -> str:
    """The one label in a cell, "" for none."""
    value = row.values.get(column)
    values = values_in(value)
    if values is not None and len(values) > 1:
        fault = DataError(f"holds {len(values)} labels; annotators are compared on single labels")
        raise at_cell(table, row, column, fault)
    return cell_label(table, row, column, reader)


def _gather(
    table: Table,
    answers: Iterator[tuple[Row, str, str, str]],
    labels: Sequence[str],
    ids: Sequence[str],
    reader: LabelReader,
) -> Votes:
    """``ids``: records of which some have no answer; it is filled while ``answers`` are read."""
    place: dict[str, int] = {}
    given: dict[tuple[str, str], str] = {}
    replaced = 0
    for row, record, annotator, label in answers:
        if not record or not annotator:
            raise DataError(f"{table.name}:{row.number}: an answer needs a record's id and an annotator; one is empty")
        if labels and label not in labels:
            raise DataError(f"{table.name}:{row.number}: the label is {label!r}; it must be one of {', '.join(labels)}")
        replaced += (record, annotator) in given
        given[record, annotator] = label
        place.setdefault(record, len(place))
    for record in ids:
        place.setdefault(record, len(place))
    names = list(labels) or sorted(set(given.values()))
    rows = [(place[record], who, names.index(label)) for (record, who), label in given.items()]
    remarks = reader.remarks()
    if replaced:
        which = "1 answer comes" if replaced == 1 else f"{replaced:,} answers come"
        remarks.append(f"{which} after another of the same annotator to the same record: the last counts")
    return Votes(from_rows(rows, len(place), names), tuple(place), tuple(remarks))
