"""Who said what about the records of a pool, and what it comes to: by majority, or as something else has settled it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.annotators.reading import consensus
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span

Positions = npt.NDArray[np.int64]

Target: TypeAlias = int | npt.NDArray[np.bool_] | tuple[Span, ...]

UNLABELLED = -1
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Agreed:
    """What annotators agree on about the records at ``positions``, int64 [m], ascending.

    ``targets`` int64 [m], or bool [m, c] for several labels. ``soft`` float64 [m, c]: how likely each label is; rows
    sum to 1; None where the labels are to be learned as they are.
    """

    positions: Positions
    targets: npt.NDArray[Any]
    soft: npt.NDArray[np.float64] | None = None

    def _find(self, positions: Positions) -> tuple[npt.NDArray[np.bool_], Positions]:
        """Which of ``positions`` are settled, bool [k], and where those are here."""
        place = np.searchsorted(self.positions, positions)
        known = place < len(self.positions)
        known[known] = self.positions[place[known]] == positions[known]
        return known, place[known]

    def over(self, targets: npt.NDArray[Any], positions: Positions) -> npt.NDArray[Any]:
        """``targets`` of ``positions``, but for those that are settled."""
        known, place = self._find(positions)
        found = targets.copy()
        found[known] = self.targets[place]
        return found

    def probabilities(self, positions: Positions) -> npt.NDArray[np.float64] | None:
        """float64 [k, c] if all ``positions`` are settled, and not as labels only."""
        known, place = self._find(positions)
        return None if self.soft is None or not known.all() else self.soft[place]


class Answers:
    """The submitted answers that count now, a row each, so that memory grows with answers and not with records.

    Spans are not kept: nobody weighs annotators on them here.
    """

    def __init__(self, labeling: Labeling) -> None:
        self._unknown: dict[int, frozenset[str]] = {}  # position -> labels said of it that the question lacks
        self._labeling = labeling
        self._kind = labeling.kind
        self._index = {label: i for i, label in enumerate(labeling.labels)}
        self._people: dict[str, int] = {}
        shape = (len(labeling.labels),) if self._kind is LabelKind.MULTI else ()
        label = ("label", np.bool_, shape) if shape else ("label", np.int32)
        self._table = np.zeros(0, dtype=[("record", np.int64), ("annotator", np.int32), label])
        self._rows: dict[int, list[int]] = {}  # position -> its rows of the table
        self._free: list[int] = []

    def update(self, at: int, annotations: Sequence[Annotation]) -> Target | None:
        """Replace the answers about the record at ``at``, and return what the majority says.

        A class index, for multi a bool row, for spans the spans themselves; None if nothing is said yet, or nothing
        that answers the question: labels that it lacks, or an answer from when it was of another kind. Of several
        answers of one annotator, the newest counts.
        """
        if self._kind is not LabelKind.SPAN:
            self._keep(at, annotations)
        value = consensus([one for one in annotations if self._is_of_kind(one)], self._labeling)
        labels = [part.label if isinstance(part, Span) else part for part in value or ()]
        self._unknown[at] = frozenset(label for label in labels if label not in self._index)
        if not self._unknown[at]:
            del self._unknown[at]
        known = [part for part, label in zip(value or (), labels, strict=True) if label in self._index]
        if value is None or (value and not known):
            return None
        if self._kind is LabelKind.SPAN:
            return tuple(part for part in known if isinstance(part, Span))
        found = [self._index[str(part)] for part in known]
        if self._kind is LabelKind.MULTI:
            return self._flags(found)
        return found[0] if len(labels) == 1 else None

    def _is_of_kind(self, one: Annotation) -> bool:
        spans = self._kind is LabelKind.SPAN
        return all(isinstance(part, Span) is spans for part in one.value)

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Labels that the question lacks -> how many records were given them by the majority."""
        given = list(self._unknown.values())  # in one step: another thread may be asking
        return dict(Counter(label for labels in given for label in labels))

    def _keep(self, at: int, annotations: Sequence[Annotation]) -> None:
        given = [one for one in annotations if one.status is AnnotationStatus.SUBMITTED]
        newest = {one.annotator: one for one in sorted(given, key=lambda one: (one.updated_at, one.id))}
        labels = {
            who: [self._index[str(part)] for part in one.value if part in self._index] for who, one in newest.items()
        }
        labels = {who: found for who, found in labels.items() if found or not newest[who].value}
        if self._kind is LabelKind.SINGLE:
            labels = {who: found for who, found in labels.items() if len(found) == 1 == len(newest[who].value)}
        old = self._rows.pop(at, [])
        self._table["record"][old] = NOBODY
        self._free += old
        if not labels:
            return
        rows = self._rows[at] = [self._row() for _ in labels]
        for row, (who, found) in zip(rows, labels.items(), strict=True):
            number = self._people.setdefault(who, len(self._people))
            self._table[row] = (at, number, self._flags(found) if self._kind is LabelKind.MULTI else found[0])

    def _row(self) -> int:
        """A row of the table that nobody has; the table grows by half."""
        if not self._free:
            size = len(self._table)
            table = np.zeros(max(64, size * 3 // 2), dtype=self._table.dtype)
            table["record"] = NOBODY
            table[:size] = self._table
            self._table = table
            self._free = list(range(size, len(table)))[::-1]
        return self._free.pop()

    def _flags(self, found: Sequence[int]) -> npt.NDArray[np.bool_]:
        row = np.zeros(len(self._index), dtype=np.bool_)
        row[list(found)] = True
        return row

    def people(self) -> int:
        """How many annotators have an answer that counts."""
        return len(np.unique(self._table["annotator"][self._table["record"] != NOBODY]))

    def opinions(self, positions: Positions, size: int) -> Opinions:
        """The answers about the records at ``positions``, distinct and below ``size``, which become 0, 1, 2, ...

        Records in this order, annotators by name, so that the same answers always make the same numbers, in whatever
        order they came.
        """
        place = np.full(size, NOBODY, np.int64)
        place[positions] = np.arange(len(positions))
        kept = self._table[self._table["record"] != NOBODY]
        kept = kept[place[kept["record"]] != NOBODY]
        names = list(self._people)
        present = sorted(np.unique(kept["annotator"]).tolist(), key=lambda number: names[number])
        rank = np.full(len(names), NOBODY, np.int64)
        rank[present] = np.arange(len(present))
        record, annotator = place[kept["record"]], rank[kept["annotator"]]
        order = np.lexsort((annotator, record))
        label = kept["label"][order]
        return Opinions(
            record[order],
            annotator[order],
            label if self._kind is LabelKind.MULTI else label.astype(np.int64),
            len(positions),
            tuple(names[number] for number in present),
            self._labeling.labels,
        )


def count_labels(targets: npt.NDArray[Any], labeling: Labeling) -> dict[str, int]:
    """How many of ``targets``, as PoolState has them, carry each label; spans as often as they come."""
    if labeling.kind is LabelKind.SPAN:
        targets = np.array([labeling.labels.index(span.label) for spans in targets for span in spans], np.int64)
    multi = labeling.kind is LabelKind.MULTI
    per_class = targets.sum(axis=0) if multi else np.bincount(targets, minlength=len(labeling.labels))
    return {label: int(count) for label, count in zip(labeling.labels, per_class, strict=True)}
