"""The pool in memory: one row per record, kept up to date from the store, so that a label costs no table scan.

Everything here can be rebuilt from the store at any time; nothing here is ever the only copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.consensus import Agreed
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.questions import Question, Target, newest_answers
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.records import Annotation, AnnotationStatus

Positions: TypeAlias = npt.NDArray[np.int64]
NOBODY = -1
_DONE, _SKIPPED, _DRAFT = AnnotationStatus.SUBMITTED, AnnotationStatus.SKIPPED, AnnotationStatus.DRAFT
COUNTED = {"answers": _DONE, "skips": _SKIPPED, "drafts": _DRAFT}
"""Columns that count a record's annotators; a second answer by the same one is no other opinion."""


class Answers:
    """The submitted answers that count now, a row each, so that memory grows with answers and not with records.

    Spans are not kept: nobody weighs annotators on them here.
    """

    def __init__(self, question: Question) -> None:
        self._unknown: dict[int, frozenset[str]] = {}  # position -> labels said of it that the question lacks
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
        return target

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Labels that the question lacks -> how many records were given them by the majority."""
        given = list(self._unknown.values())  # in one step: another thread may be asking
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


class PoolState:
    """Arrays over all records, indexed by the store's dense ``position``.

    ``rows`` int64 [n]: row of the record in the embedding cache, -1 while not embedded.
    ``targets``: int64 [n] with -1 for none (single), bool [n, c] (multi), or object [n], tuples of Span (span).
    They are the majority's, or what was ``agreed`` in its place; None, once an answer or the vectors have changed.
    A record wants ``overlap`` annotators, or as many as were asked for by :meth:`ask_again`.
    ``revision`` grows with every change that may alter the ranking.
    """

    def __init__(self, question: Question, overlap: int = 1) -> None:
        self.question, self.labeling = question, question.labeling
        self.overlap = overlap
        self.revision = 0
        self.originals: dict[str, str] = {}  # uid of a duplicate -> uid of the first record with its content
        self._answers = Answers(self.question)
        self.agreed: Agreed | None = None
        self._remote: list[str] = []
        self._by_remote: dict[str, int] = {}
        self._left: set[int] = set()  # positions of records that left the pool because the platform deleted them
        target = self.question.column("target")
        flags = [(name, np.bool_) for name in ("audit", "active", "pushed", "suggested", "held", "known")]
        counts = [(name, np.int32) for name in ("answers", "skips", "drafts", "opinions")]
        self._table = np.zeros(
            0, dtype=[("row", np.int64), ("lot", np.float64), ("seed", np.float32), *flags, *counts, target]
        )
        self._size = 0

    def _reserve(self, size: int) -> None:
        if size > len(self._table):
            table = np.zeros(max(size, 2 * len(self._table), 1024), dtype=self._table.dtype)
            table["row"] = -1
            if self.question.blank is not None:
                table["target"] = self.question.blank
            table[: self._size] = self._table[: self._size]
            self._table = table
        self._remote.extend([""] * (size - len(self._remote)))
        self._size = max(size, self._size)

    def _column(self, name: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = self._table[name][: self._size]
        return column

    # -- what comes in ---------------------------------------------------------------------------------------------

    def add(self, stored: Sequence[StoredRecord], rows: Positions) -> None:
        """Take in records (new, or changed since) with their embedding rows, int64 [len(stored)]."""
        if not stored:
            return
        self._reserve(max(item.position for item in stored) + 1)
        at_all = np.array([item.position for item in stored])
        self._table["row"][at_all] = rows
        for name in ("lot", "audit", "opinions", "suggested"):
            self._table[name][at_all] = [getattr(item, name) for item in stored]
        self._table["active"][at_all] = [not item.gone and item.duplicate_of is None for item in stored]
        for item in stored:
            if item.duplicate_of is not None:
                self.originals[item.record.uid] = item.duplicate_of
            elif item.gone:
                self._left.add(item.position)
            if item.remote_id is not None and not item.gone:
                self._place(item.position, item.remote_id)
        self.revision += 1

    def set_seeds(self, positions: Positions, scores: npt.NDArray[np.float32]) -> None:
        """How well the records at ``positions`` match what was asked to start from, float32 [k]; 0 is not at all."""
        self._table["seed"][positions] = scores

    def set_rows(self, rows: Positions) -> None:
        """Another encoder has embedded all records: their rows in its cache, int64 [n], by position."""
        self._column("row")[:] = rows
        self.agreed = None  # it may go by predictions from the old vectors
        self.revision += 1

    def set_remote(self, placed: Mapping[int, str]) -> None:
        """Records by position that are now on the platform, with their remote ids; those that left come back."""
        news = {at: remote_id for at, remote_id in placed.items() if self._remote[at] != remote_id}
        for at, remote_id in news.items():
            self._place(at, remote_id)
        self.revision += bool(news)

    def _place(self, at: int, remote_id: str) -> None:
        self._remote[at] = remote_id
        self._by_remote[remote_id] = at
        self._table["pushed"][at] = True
        if at in self._left:
            self._left.remove(at)
            self._table["active"][at] = True

    def drop(self, remote_ids: Sequence[str]) -> None:
        """Records that were deleted on the platform leave the pool."""
        for remote_id in remote_ids:
            at = self._by_remote.pop(remote_id, None)
            if at is not None:
                if self._table["active"][at]:
                    self._left.add(at)
                self._table["active"][at] = self._table["pushed"][at] = False
                self._remote[at] = ""
                self.revision += 1

    def answer(self, touched: Mapping[str, Sequence[Annotation]]) -> list[str]:
        """Replace the answers of the touched records by their current ones; return the remote ids not known here."""
        unknown_records = []
        for remote_id, current in touched.items():
            at = self._by_remote.get(remote_id)
            if at is None:
                unknown_records.append(remote_id)
                continue
            for name, status in COUNTED.items():
                self._table[name][at] = len({one.annotator for one in current if one.status is status})
            target = self._answers.update(at, current)
            self._table["known"][at] = target is not None
            target = self.question.blank if target is None else target
            if target is not None:
                self._table["target"][at] = target
            self.agreed = None
        self.revision += bool(touched)
        return unknown_records

    def ask_again(self, positions: Positions, opinions: int) -> None:
        """These records want ``opinions`` annotators in all, unless they want more already."""
        wanted = self._column("opinions")
        if (wanted[positions] < opinions).any():
            wanted[positions] = np.maximum(wanted[positions], opinions)
            self.revision += 1

    def hold(self, remote_ids: Iterable[str]) -> None:
        """Exactly these records are on annotators' pages already: nobody's candidates until they are answered."""
        self._table["held"] = False
        found = (self._by_remote.get(remote_id) for remote_id in remote_ids)
        self._table["held"][[at for at in found if at is not None]] = True

    def note_suggested(self, remote_ids: Iterable[str]) -> list[int]:
        """These records have a suggestion of ours on the platform now. Returns the positions of which that is news."""
        found = (self._by_remote.get(remote_id) for remote_id in remote_ids)
        news = [at for at in found if at is not None and not self._table["suggested"][at]]
        self._table["suggested"][news] = True
        return news

    # -- what is asked ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> Positions:
        """int64 [n]: rows in the embedding cache."""
        return self._column("row")

    @property
    def sampling_keys(self) -> npt.NDArray[np.float64]:
        """float64 [n] in [0, 1): one uniform lot a record, fixed for ever."""
        return self._column("lot")

    @property
    def seeds(self) -> npt.NDArray[np.float32]:
        """float32 [n]: see :meth:`set_seeds`; 0 where nothing was asked."""
        return self._column("seed")

    @property
    def _usable(self) -> npt.NDArray[np.bool_]:
        return self._column("active") & (self._column("row") >= 0)

    @property
    def _labelled(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._usable & self._column("known"))

    @property
    def _open(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._usable & (self._column("answers") < np.maximum(self._column("opinions"), self.overlap)))

    @property
    def _free(self) -> npt.NDArray[np.bool_]:
        """Open, nobody has begun an answer, and it is on nobody's page."""
        return np.asarray(self._open & (self._column("drafts") == 0) & ~self._column("held"))

    @property
    def _asked(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._column("opinions") > self.overlap)

    def candidates(self) -> Positions:
        """Positions that a strategy may choose: open, not for audit, begun or skipped by nobody, not asked again."""
        return np.flatnonzero(self._free & ~self._asked & ~self._column("audit") & (self._column("skips") == 0))

    def audit_queue(self) -> Positions:
        """Open positions of the audit slice, in the order of their lots: a uniform random order."""
        waiting = np.flatnonzero(self._free & ~self._asked & self._column("audit") & (self._column("skips") == 0))
        return waiting[np.argsort(self.sampling_keys[waiting], kind="stable")]

    def skipped(self) -> Positions:
        """Open positions that somebody skipped: served when nothing else is left, least skipped first."""
        return self._least_skipped(self._free & ~self._asked & (self._column("skips") > 0))

    def asked_again(self) -> Positions:
        """Open positions for which more than the usual number of annotators was asked for, least skipped first."""
        return self._least_skipped(self._free & self._asked)

    def closed(self, limit: int) -> Positions:
        """Positions that have all answers they want, and might have more: heard of ``limit`` people at most but one.

        Only what is on the platform, and on nobody's page; nothing of the audit slice.
        """
        done = self._labelled & ~self._open & self._column("pushed") & ~self._column("audit") & ~self._column("held")
        heard = self._column("answers") + self._column("skips")
        return np.flatnonzero(done & (self._column("drafts") == 0) & (heard < limit))

    def tally(self, positions: Positions) -> tuple[Positions, Positions]:
        """int64 [k] and [k]: how many annotators have answered each of ``positions``, and how many have skipped it."""
        return self._column("answers")[positions].astype(np.int64), self._column("skips")[positions].astype(np.int64)

    def _least_skipped(self, chosen: npt.NDArray[np.bool_]) -> Positions:
        waiting = np.flatnonzero(chosen)
        return waiting[np.argsort(self._column("skips")[waiting], kind="stable")]

    def unsuggested(self) -> Positions:
        """Open positions on the platform that never had a suggestion of ours and should have one, newest first."""
        due = self._free & self._column("pushed") & ~self._column("suggested")
        return np.flatnonzero(due & ~self._asked & ~self._column("audit"))[::-1]

    def training(self) -> Positions:
        """Positions with an answer to learn from: the audit slice is left out."""
        return np.flatnonzero(self._labelled & ~self._column("audit"))

    def audited(self) -> Positions:
        """Positions of the audit slice with an answer."""
        return np.flatnonzero(self._labelled & self._column("audit"))

    def targets(self, positions: Positions, *, settled: bool = True) -> npt.NDArray[Any]:
        """int64 [k] class indices (single), bool [k, c] (multi), object [k], tuples of Span; or the majority's."""
        majority = self._column("target")[positions]
        return majority if self.agreed is None or not settled else self.agreed.over(majority, positions)

    def learned_targets(self, positions: Positions) -> npt.NDArray[Any]:
        """What a probe learns of ``positions``: :meth:`targets`, or what was agreed as probabilities, [k, c]."""
        soft = None if self.agreed is None else self.agreed.probabilities(positions)
        return self.targets(positions) if soft is None else soft

    def opinions(self, positions: Positions) -> Opinions:
        """Who said what about the records at ``positions``, distinct, which are 0, 1, 2, ... there. Not for spans."""
        return self._answers.opinions(positions, self._size)

    def people(self) -> int:
        """How many annotators have an answer that counts now, the audit slice's included. 0 for spans."""
        return self._answers.people()

    def remote_ids(self, positions: Positions) -> list[str]:
        """The platform's ids of the records at ``positions``; "" for one that is not there."""
        return [self._remote[at] for at in positions.tolist()]

    def is_pushed(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """bool [k]: which of ``positions`` are on the platform."""
        return self._column("pushed")[positions]

    def is_blind(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """bool [k]: which of ``positions`` are shown without a suggestion: the audit slice, and what is asked again.

        A second opinion that was shown a model's would be none.
        """
        return np.asarray(self._column("audit")[positions] | self._asked[positions])

    def waiting_on_platform(self) -> int:
        """How many records on the platform still wait for an answer."""
        return int((self._open & self._column("pushed")).sum())

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Labels that were given and the question lacks -> of how many records. Their answers are not learned."""
        return self._answers.unknown_labels

    def counts(self) -> dict[str, int]:
        """Records, those on the platform, those labelled, the audited among them, and those asked about again."""
        usable, labelled = self._usable, self._labelled
        return {
            "records": int(usable.sum()),
            "pushed": int((usable & self._column("pushed")).sum()),
            "labelled": int(labelled.sum()),
            "audited": int((labelled & self._column("audit")).sum()),
            "asked_again": int((self._open & self._asked).sum()),
        }

    def label_counts(self) -> dict[str, int]:
        """How many labelled records carry each label, spans as often as they come."""
        return self.question.count(self.targets(np.flatnonzero(self._labelled)))
