"""Labelled texts from a data file: what is left out is counted, what would flatter a figure is noticed and said."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nextlabel.backend.activation import Targets
from nextlabel.connectors.content import Content, Readable, as_json, says_nothing, text_of
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.hierarchy import Hierarchy

from .cells import LabelReader, value_text, values_in
from .examples import Examples, read_alike
from .flags import FlagReader
from .image_files import data_url, image_source
from .label_checks import Vectors, refuse_labels, refuse_nested, remarks_on_content
from .reading import NOTHING_SAID, ReadingOptions
from .rows import Row, Table, first_few
from .tables import at_cell, cell_text, open_table

FEW = 5  # labels that are named one by one


@dataclass(frozen=True, slots=True)
class LabelledColumns:
    """Which column is what. ``separator`` parts the labels of a text that may have several, None for one label.

    ``flags`` are columns of 0 and 1, one per label, in place of ``label``, which is then what they are called together.
    ``verbatim`` are cells that are labels as they stand, though they look like missing ones, or like numbers.
    ``annotator`` names who gave the label. ``image`` holds the addresses of pictures, or their bytes; with it, ``text``
    may be empty: pictures alone.
    """

    text: str
    label: str
    group: str | None = None
    separator: str | None = None
    split: str | None = None
    verbatim: Collection[str] = ()
    flags: tuple[str, ...] = ()
    annotator: str | None = None
    image: str | None = None

    def all(self) -> list[str]:
        """Every column that must exist."""
        beside = (self.group, self.split, self.annotator)
        return [column for column in (self.text, self.image, *(self.flags or (self.label,)), *beside) if column]

    def read(self, table: Table, row: Row) -> Readable:
        """What is to be judged in a row: its text, with its picture beside it. Raises DataError that says where."""
        text = cell_text(table, row, self.text) if self.text else ""
        if self.image is None:
            return text
        source = image_source(row.values.get(self.image))
        if source is None:
            raise at_cell(table, row, self.image, DataError("holds no address of a picture, nor its bytes"))
        address = data_url(source) if isinstance(source, bytes) else source.strip()
        return Content(text, (address,)) if address else text


@dataclass
class LabelledRows:
    """Rows as they were read: texts, their labels, and their group and split (empty where there is no such column).

    ``texts`` may have pictures beside them. ``blank`` rows had no text and ``unlabelled`` ones no label: both were left
    out. A list in the label column makes ``several`` true, as a separator does. ``remarks`` are sentences on what was
    read. ``places``: how many rows of the table come before each, with those that were left out; the first of them all
    is row ``first_row`` as a spreadsheet counts.
    """

    name: str
    several: bool = False
    texts: list[Readable] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    annotators: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    first_row: int = 1
    blank: int = 0
    unlabelled: int = 0
    remarks: list[str] = field(default_factory=list)

    def where(self, wanted: Sequence[str], column: str | None) -> LabelledRows:
        """The rows of which the split is among ``wanted``. What was left out before stays counted.

        Raises DataError for a value that no row has in the split ``column``.
        """
        return self.take(rows_with(self.splits, wanted, self.name, column))

    def take(self, rows: Sequence[int]) -> LabelledRows:
        """Some of the rows, in the order of ``rows``."""
        part = replace(self)
        for column in ("texts", "labels", "groups", "splits", "annotators", "places"):
            setattr(part, column, [getattr(self, column)[row] for row in rows])
        return part

    def add(self, table: Table, row: Row, text: Readable, columns: LabelledColumns, place: int = 0) -> None:
        """Take in a row but for its labels."""
        self.texts.append(text)
        self.places.append(place)
        self.annotators.append(cell_text(table, row, columns.annotator).strip() if columns.annotator else "")
        self.groups.append(cell_text(table, row, columns.group).strip() if columns.group else "")
        self.splits.append(cell_text(table, row, columns.split).strip() if columns.split else "")

    def left_out(self) -> list[str]:
        """A remark on the rows that were left out, if any were."""
        parts = [f"{self.blank:,} rows without text"] * bool(self.blank)
        parts += [f"{self.unlabelled:,} rows without label"] * bool(self.unlabelled)
        return [f"left out: {' and '.join(parts)}"] if parts else []

    def copies(self) -> int:
        """Rows whose text stood in an earlier row, case and spaces left aside."""
        return len(self.texts) - len(set(map(read_alike, self.texts)))

    def contradictions(self) -> int:
        """Texts that are there with different labels."""
        return _with_several(self.texts, map(frozenset, self.labels))

    def digest(self) -> str:
        """A hash of texts, labels, groups and splits, in their order."""
        found = hashlib.sha256()
        for row in zip(self.texts, self.labels, self.groups, self.splits, strict=True):
            found.update(json.dumps(row, default=as_json).encode() + b"\n")
        return found.hexdigest()


def rows_with(splits: Sequence[str], wanted: Sequence[str], name: str, column: str | None) -> list[int]:
    """The rows of the file ``name`` of which the split is among ``wanted``.

    Raises DataError for a value that no row has in the split ``column``.
    """
    for value in wanted:
        if value not in splits:
            found = ", ".join(repr(one) for one in sorted(set(splits))[:10])
            raise DataError(f"{name}: no row has {value!r} in the column {column!r}; found: {found}")
    return [at for at, split in enumerate(splits) if split in wanted]


def read_labelled(source: str, columns: LabelledColumns, options: ReadingOptions = NOTHING_SAID) -> LabelledRows:
    """Read ``source``, anything that :func:`nextlabel.backend.data.tables.open_table` opens.

    Without a separator a row needs one label; with one, an empty cell means that no label applies. Raises DataError:
    for a missing column with the nearest that is there.
    """
    table = open_table(source, columns.all(), options)
    found = LabelledRows(table.name, several=columns.separator is not None, first_row=2 if table.headed else 1)
    vectors, reader = Vectors(), LabelReader((*columns.verbatim, *columns.flags))
    flags = FlagReader(columns.flags)
    for place, row in enumerate(table.rows):
        text = columns.read(table, row)
        if says_nothing(text):
            found.blank += 1
            continue
        value = flags.read(table, row) if columns.flags else row.values.get(columns.label)
        try:
            several, labels = _labels(value, columns.separator, reader, vectors)
        except DataError as error:
            raise at_cell(table, row, columns.label, error) from None
        found.several = found.several or several
        if not (labels or several):
            found.unlabelled += 1
            continue
        found.add(table, row, text, columns, place)
        found.labels.append(labels)
    if not found.texts:
        left_out = f"{found.blank} rows without text, {found.unlabelled} without label"
        raise DataError(f"{table.name}: no row has both a text and a label ({left_out})")
    vectors.refuse(table.name, columns.label)
    refuse_labels(table.name, columns.label, found.labels, found.several)
    found.remarks = [
        *reader.remarks(),
        *flags.remarks(table.what),
        *remarks_on_content(columns.text, list(map(text_of, found.texts)), found.labels),
    ]
    found.remarks += table.remarks()
    return found


def labels_of(*parts: LabelledRows) -> tuple[str, ...]:
    """All the labels that occur, numbers by size and words by the alphabet.

    Raises DataError for fewer than two, and for paths that make no tree.
    """
    found = {label for part in parts for labels in part.labels for label in labels}
    if len(found) < 2 and not any(part.several for part in parts):
        only = f"only the label {next(iter(found))!r} occurs" if found else "no label occurs"
        raise DataError(f"{parts[0].name}: {only}; telling labels apart takes two or more")
    if not found:
        raise DataError(f"{parts[0].name}: no label occurs in any row")
    labels = tuple(sorted(found, key=_order))
    try:
        Hierarchy.of(labels)
    except ValueError as error:
        raise DataError(f"{parts[0].name}: {error}") from None
    return labels


def to_examples(
    rows: LabelledRows, labels: Sequence[str], grouped: bool, among: Sequence[str] | None = None
) -> Examples:
    """The rows as examples. ``grouped`` rows with an empty group are a group of their own.

    ``among`` is the list of group names that codes are given by, so that two parts of a data set agree; by default
    those of ``rows``.
    """
    places = {label: at for at, label in enumerate(labels)}
    targets: Targets
    if rows.several:
        several = np.zeros((len(rows.texts), len(labels)), np.bool_)
        for at, names in enumerate(rows.labels):
            several[at, [places[name] for name in names]] = True
        targets = several
    else:
        targets = np.array([places[names[0]] for names in rows.labels], np.int64)
    codes = None
    if grouped:
        names_of = {name: at for at, name in enumerate(dict.fromkeys(rows.groups if among is None else among)) if name}
        alone = len(names_of) + 1
        codes = np.array([names_of.get(name, alone + at) for at, name in enumerate(rows.groups)], np.int64)
    return Examples(tuple(rows.texts), targets, tuple(labels), groups=codes)


def rare_labels(rows: LabelledRows, least: int) -> list[tuple[str, int]]:
    """Labels with fewer than ``least`` rows, the rarest first, with their number of rows."""
    counts = Counter(label for labels in rows.labels for label in labels)
    return sorted(((label, count) for label, count in counts.items() if count < least), key=lambda one: one[::-1])


def _labels(value: Any, separator: str | None, reader: LabelReader, vectors: Vectors) -> tuple[bool, tuple[str, ...]]:
    """Whether ``value`` has room for several labels, and those that it has, without repetition.

    Lists are shown to ``vectors``. Raises DataError for spans and whatever else is no label.
    """
    values = values_in(value)
    if values is None and separator is not None:
        values = value_text(value).split(separator)
    refuse_nested([value] if values is None else values)
    if values is None:
        return False, _distinct([reader.read(value)])
    names = [reader.read(one) for one in values]
    vectors.see(names)
    return True, _distinct(names)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _order(label: str) -> tuple[bool, float, str]:
    number = bool(re.fullmatch(r"-?\d+(\.\d+)?", label))
    return (not number, float(label) if number else 0.0, label)


def remarks_on_folds(rows: LabelledRows, examples: Examples, folds: int, random_folds: bool) -> list[str]:
    """Copies, contradictions, labels too rare and groups too few for so many ``folds``."""
    remarks = []
    copies, groups = rows.copies(), examples.groups
    if random_folds:
        remarks.append(
            "folds were made at random: groups and copies are split between them, which flatters the figures"
        )
    elif groups is None and copies:
        remarks.append(f"{copies:,} rows repeat the text of another; copies share a fold")
    elif groups is not None:
        remarks += remarks_on_joined(examples)
    remarks += _contradictions(rows)
    if rare := rare_labels(rows, folds):
        named = first_few([f"{label!r} ({count})" for label, count in rare], FEW)
        remarks.append(
            f"fewer rows than the {folds} folds: {named}; some folds test nothing of them, "
            "and what is said about them is little more than chance"
        )
    together = None if random_folds else examples.together()
    if groups is not None and together is not None and (found := len(np.unique(together))) < folds:
        remarks.append(f"there are only {found} groups, so there are {found} folds")
    return remarks


def remarks_on_joined(examples: Examples) -> list[str]:
    """Groups that count as one because they have a text in common."""
    groups, together = examples.groups, examples.together()
    if groups is None or together is None or together is groups:
        return []
    sizes = np.unique(together, return_counts=True)[1]
    return [
        f"{len(np.unique(groups)):,} groups count as {len(sizes):,}: some have a text in common, and no text may be "
        f"predicted by a model that saw it; the largest holds {sizes.max() / len(groups):.0%} of the texts"
    ]


def remarks_on_test(train: LabelledRows, test: LabelledRows, grouped: bool) -> list[str]:
    """Texts and groups on both sides, labels on one only, contradictions in the test set."""
    remarks = []
    known = set(map(read_alike, train.texts))
    if leaked := sum(read_alike(text) in known for text in test.texts):
        remarks.append(f"{leaked:,} of the {len(test.texts):,} texts to test on are also learned from: that flatters")
    groups = set(train.groups) - {""}
    if grouped and (shared := sum(group in groups for group in test.groups)):
        share = shared / len(test.texts)
        remarks.append(f"{share:.0%} of the texts to test on are of a group that is also learned from: this flatters")
    unseen = sorted(_names(test) - _names(train))
    if unseen:
        remarks.append(f"only tested, never learned: {', '.join(map(repr, unseen[:FEW]))}")
    return remarks + _contradictions(test)


def _names(rows: LabelledRows) -> set[str]:
    return {label for labels in rows.labels for label in labels}


def _contradictions(rows: LabelledRows) -> list[str]:
    torn = rows.contradictions()
    return [f"{torn:,} texts are there with different labels: nobody can be right about all of them"] if torn else []


def _with_several(texts: list[Readable], values: Iterable[Hashable]) -> int:
    """Texts that are there with different values."""
    return sum(count > 1 for count in Counter(text for text, _ in set(zip(texts, values, strict=True))).values())
