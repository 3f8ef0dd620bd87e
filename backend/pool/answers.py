"""The answers that count now, in memory: what the majority says of each record, and who said what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.questions import Question, Target, newest_answers
from nextlabel.connectors.records import Annotation

Positions: TypeAlias = npt.NDArray[np.int64]
NOBODY = -1


class Answers:
    """The submitted answers that count now, a row each, so that memory grows with answers and not with records.

    Spans are not kept: nobody weighs annotators on them here.
    """

    def __init__(self, question: Question) -> None:
        self._unknown: dict[int, frozenset[str]] = {}  # position -> labels said of it that the question lacks
        self._stopped: dict[int, list[str]] = {}  # position -> parents of labels that were said in place of these
        self._question = question
        self._people: dict[str, int] = {}
        label = question.vote_column("label")
        self._table = np.zeros(0, dtype=[("record", np.int64), ("annotator", np.int32), label])
        self._rows: dict[int, list[int]] = {}  # position -> its rows of the table
        self._free: list[int] = []

    def update(self, at: int, annotations: Sequence[Annotation]) -> Target | None:
        """Replace the answers about the record at ``at``, and return what the majority says.

        None if nothing is said yet, or nothing that answers the question: labels that it lacks, or an answer from when
        it was of another kind. Of several answers of one annotator, the newest counts.
        """
        question = self._question
        if question.votes:
            self._keep(at, annotations)
        decided = question.consensus(one for one in annotations if question.answers(one))
        target, unknown = question.target(decided)
        self._unknown.pop(at, None)
        self._unknown |= {at: unknown} if unknown else {}
        self._stopped.pop(at, None)
        self._stopped |= {at: parents} if (parents := question.parents_in(decided or ())) else {}
        return target

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Labels that the question lacks -> how many records were given them by the majority."""
        given = list(self._unknown.values())  # in one step: another thread may be asking
        return dict(Counter(label for labels in given for label in labels))

    @property
    def parents(self) -> dict[str, int]:
        """Parents of labels that were given in place of these -> of how many records by the majority."""
        given = list(self._stopped.values())
        return dict(Counter(label for labels in given for label in labels))

    def _keep(self, at: int, annotations: Sequence[Annotation]) -> None:
        newest = newest_answers(annotations).items()
        votes = {who: vote for who, one in newest if (vote := self._question.vote(one.value)) is not None}
        old = self._rows.pop(at, [])
        self._table["record"][old] = NOBODY
        self._free += old
        if not votes:
            return
        rows = self._rows[at] = [self._row() for _ in votes]
        for row, (who, vote) in zip(rows, votes.items(), strict=True):
            number = self._people.setdefault(who, len(self._people))
            self._table[row] = (at, number, vote)

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
        return Opinions(
            record[order],
            annotator[order],
            kept["label"][order],
            len(positions),
            tuple(names[number] for number in present),
            self._question.labeling.labels,
        )
