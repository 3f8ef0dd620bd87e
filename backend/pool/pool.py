"""The pool in memory: one row per record, kept up to date from the store, so that a label costs no table scan.

Everything here can be rebuilt from the store at any time; nothing here is ever the only copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.consensus import Agreed
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.questions import Proposal, Question, Voices, is_settled
from nextlabel.backend.questions.hierarchy import parent_counts
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.content import says_nothing
from nextlabel.connectors.records import Annotation, AnnotationStatus

from .answers import Answers
from .answers import Positions as Positions
from .copies import Copies

_DONE, _SKIPPED, _DRAFT = AnnotationStatus.SUBMITTED, AnnotationStatus.SKIPPED, AnnotationStatus.DRAFT
_FLAGS = ("audit", "held_out", "active", "pushed", "suggested", "held", "known", "settled", "stands", "empty")
COUNTED = {"answers": _DONE, "skips": _SKIPPED, "drafts": _DRAFT}
"""Columns that count a record's annotators; a second answer by the same one is no other opinion."""


class PoolState:
    """Arrays over all records, indexed by the store's dense ``position``.

    ``rows`` int64 [n]: row of the record in the embedding cache, -1 for one of which a picture can't be read. Nothing
    is learned from such a record and nothing suggested; people get it when nothing else is left.
    ``targets``: int64 [n] with -1 for none (single), bool [n, c] (multi), or object [n], tuples of Span (span).
    They are the majority's, or what was ``agreed`` in its place; None, once an answer or the vectors have changed.
    A record wants ``overlap`` annotators, or as many as were asked for by :meth:`ask_again`; one that is settled, none.
    ``voices``: what suggesters say of records; None without suggesters.
    ``revision`` grows with every change that may alter the ranking.
    """

    def __init__(self, question: Question, overlap: int = 1) -> None:
        self.question, self.labeling = question, question.labeling
        self.overlap = overlap
        self.revision = 0
        self._answers = Answers(self.question)
        self.agreed: Agreed | None = None
        self.voices: Voices | None = None
        self._remote: list[str] = []
        self._by_remote: dict[str, int] = {}
        self._left: set[int] = set()  # positions of records that left the pool because the platform deleted them
        self._copies = Copies()
        self._regrouped: set[int] = set()  # positions whose group has other members than when it was last answered
        target = self.question.column("target")
        flags = [(name, np.bool_) for name in _FLAGS]
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
        """Take in records (new, or changed since) with their embedding rows, int64 [len(stored)].

        Of one that the platform has under another id now, or has no longer, the answers are forgotten.
        """
        if not stored:
            return
        self._reserve(max(item.position for item in stored) + 1)
        for item in stored:
            if item.lot != self.sampling_keys[item.position]:  # a copy that says something else now
                self._regrouped.update(self._copies.leave(item.position))
        at_all = np.array([item.position for item in stored])
        self._table["row"][at_all] = rows
        for name in ("lot", "held_out", "opinions", "suggested"):
            self._table[name][at_all] = [getattr(item, name) for item in stored]
        self._table["audit"][at_all] = [item.audit or item.held_out for item in stored]
        self._table["empty"][at_all] = [says_nothing(self.labeling.content(item.record)) for item in stored]
        self._table["active"][at_all] = [not item.gone and not item.is_copy for item in stored]
        for item in stored:
            if item.gone:
                self._left.add(item.position)
            here = "" if item.gone else item.remote_id or ""
            if self._remote[item.position] not in ("", here):
                self._displace(item.position)
            if here:
                self._place(item.position, here)
        if copies := [item for item in stored if item.duplicate_of is not None and item.remote_id is not None]:
            self._copies.join(self.sampling_keys, [item.lot for item in copies])
            self._regrouped.update(item.position for item in copies)
        self.agreed = None  # it may go by predictions from the old vectors
        self.revision += 1

    def listen(self, names: Sequence[str]) -> None:
        """There are suggesters of these ``names``; without any, nothing changes."""
        if names and (self.voices is None or self.voices.names != tuple(names)):
            self.voices = self.question.voicing.voices(names)

    def note_proposals(self, name: str, positions: Sequence[int], proposals: Sequence[Proposal | None]) -> None:
        """What the suggester ``name`` says of the records at ``positions``, which may be yet to come."""
        if self.voices is not None:
            self.voices.note(name, positions, [self.question.voicing.formed(one) for one in proposals])
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
        if self._by_remote.get(earlier := self._remote[at]) == at:
            del self._by_remote[earlier]
        self._remote[at] = remote_id
        self._by_remote[remote_id] = at
        self._table["pushed"][at] = True
        if at in self._left:
            self._left.remove(at)
            self._table["active"][at] = True

    def _displace(self, at: int) -> None:
        """The platform has the record no longer where it was, and nothing that was said there counts here."""
        if self._by_remote.get(self._remote[at]) == at:
            del self._by_remote[self._remote[at]]
        self._remote[at] = ""
        for name in ("pushed", "stands", *COUNTED):
            self._table[name][at] = 0
        self._say(at, ())
        self._regrouped.add(at)

    def drop(self, remote_ids: Sequence[str]) -> None:
        """Records that were deleted on the platform leave the pool."""
        for remote_id in remote_ids:
            at = self._by_remote.pop(remote_id, None)
            if at is not None:
                if self._table["active"][at]:
                    self._left.add(at)
                self._table["active"][at] = self._table["pushed"][at] = False
                self._regrouped.add(at)
                self._remote[at] = ""
                self.revision += 1

    def companions(self, touched: Iterable[str]) -> set[str]:
        """Remote ids of the records whose answers :meth:`answer` needs besides those ``touched``: those of copies."""
        known = (self._by_remote.get(remote_id) for remote_id in touched)
        groups = self._copies.groups([*(at for at in known if at is not None), *self._regrouped])
        return {remote for group in groups if len(group) > 1 for at in group if (remote := self._remote[at])}

    def answer(self, touched: Mapping[str, Sequence[Annotation]]) -> list[str]:
        """Replace the answers of the touched records by their current ones; return the remote ids not known here.

        Of records with copies, all copies' answers are given (:meth:`companions`): the first that is answered stands
        for all of them, with what all that answered one of them come to.
        """
        known = {
            at: given for remote_id, given in touched.items() if (at := self._by_remote.get(remote_id)) is not None
        }
        for at, current in known.items():
            for name, status in COUNTED.items():
                self._table[name][at] = len({one.annotator for one in current if one.status is status})
        for group in self._copies.groups(known):
            alone = len(group) == 1
            members = [at for at in group if alone or self._table["active"][at]]
            for at in members:
                self._say(at, known.get(at, ()))
            answered = [at for at in members if self._table["known"][at]]
            self._table["stands"][group] = False
            self._table["stands"][answered[:1]] = True
            if len(answered) > 1:
                self._say(answered[0], [one for at in answered for one in known.get(at, ())])
        self._regrouped.clear()
        self.agreed = None if known else self.agreed
        self.revision += bool(touched)
        return [remote_id for remote_id in touched if remote_id not in self._by_remote]

    def _say(self, at: int, annotations: Sequence[Annotation]) -> None:
        """These are the answers that the record at ``at`` stands for."""
        target = self._answers.update(at, annotations)
        self._table["known"][at] = target is not None
        told = is_settled(one for one in annotations if self.question.answers(one))
        self._table["settled"][at] = target is not None and told
        target = self.question.blank if target is None else target
        if target is not None:
            self._table["target"][at] = target

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
    def _embedded(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._column("row") >= 0)

    @property
    def _labelled(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._column("active") & self._column("known"))

    @property
    def _learnable(self) -> npt.NDArray[np.bool_]:
        """Labelled, embedded, and of copies the one that stands for all."""
        return np.asarray(self._labelled & self._embedded & self._column("stands"))

    @property
    def _short(self) -> npt.NDArray[np.bool_]:
        """Fewer have answered than were to."""
        wanted = np.maximum(self._column("opinions"), self.overlap)
        return np.asarray(self._column("active") & (self._column("answers") < wanted))

    @property
    def _open(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._short & ~self._column("settled"))

    @property
    def _free(self) -> npt.NDArray[np.bool_]:
        """Open, nobody has begun an answer, and it is on nobody's page."""
        return np.asarray(self._open & (self._column("drafts") == 0) & ~self._column("held"))

    @property
    def _asked(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._column("opinions") > self.overlap)

    @property
    def _rankable(self) -> npt.NDArray[np.bool_]:
        """Free and embedded, skipped by nobody, not asked again."""
        return np.asarray(self._free & self._embedded & ~self._asked & (self._column("skips") == 0))

    def candidates(self) -> Positions:
        """Positions that a strategy may choose: open, not for audit, begun or skipped by nobody, not asked again."""
        return np.flatnonzero(self._rankable & ~self._column("audit"))

    def audit_queue(self) -> Positions:
        """Open positions of the audit slice, in the order of their lots: a uniform random order."""
        waiting = np.flatnonzero(self._rankable & self._column("audit"))
        return waiting[np.argsort(self.sampling_keys[waiting], kind="stable")]

    def left_over(self) -> Positions:
        """Open positions that somebody skipped, or of which a picture can't be read, least skipped first.

        They are served when nothing else is left.
        """
        return self._least_skipped(self._free & ~self._asked & ((self._column("skips") > 0) | ~self._embedded))

    def asked_again(self) -> Positions:
        """Open positions for which more than the usual number of annotators was asked for, least skipped first."""
        return self._least_skipped(self._free & self._asked)

    def begun(self) -> Positions:
        """Open positions that have some of the answers that every record is to have, those with the most first."""
        answers = self._column("answers")
        waiting = np.flatnonzero(self._free & ~self._asked & (answers > 0) & (self._column("skips") == 0))
        return waiting[np.argsort(-answers[waiting], kind="stable")]

    def closed(self, limit: int) -> Positions:
        """Positions that have all answers they want, and might have more: heard of ``limit`` people at most but one.

        Only what is on the platform, and on nobody's page; nothing of the audit slice.
        """
        done = self._labelled & self._embedded & ~self._open & self._column("pushed")
        done &= ~self._column("audit") & ~self._column("held") & ~self._column("settled")
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
        seen = self._embedded & ~self._column("audit") & ~self._column("empty")
        return np.flatnonzero(due & seen & ~self._asked)[::-1]

    def training(self) -> Positions:
        """Positions with an answer to learn from: the audit slice is left out, and of copies there is one."""
        return np.flatnonzero(self._learnable & ~self._column("audit"))

    def answered(self) -> Positions:
        """Positions with an answer that counts, whatever it is for; of copies there is one."""
        return np.flatnonzero(self._labelled & self._column("stands"))

    def embedded(self) -> Positions:
        """Positions of records that have a vector."""
        return np.flatnonzero(self._column("active") & self._embedded)

    def audited(self) -> Positions:
        """Positions of the audit slice with an answer, which was given blind; of copies there is one."""
        return np.flatnonzero(self._learnable & self._audit)

    def held_out(self) -> Positions:
        """Positions with an answer from before we came that is kept for testing; of copies there is one."""
        return np.flatnonzero(self._learnable & self._column("held_out"))

    @property
    def _audit(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._column("audit") & ~self._column("held_out"))

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

    def is_settled(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """bool [k]: which of ``positions`` have an answer that counts alone, for good: nobody is asked again."""
        return self._column("settled")[positions]

    def settled_early(self) -> Positions:
        """Positions on the platform that are settled so by fewer answers than they were to have."""
        return np.flatnonzero(self._short & self._column("pushed") & self._column("settled"))

    def wanted(self, positions: Positions) -> Positions:
        """int64 [k]: how many annotators are to answer each of ``positions``, unless it is settled."""
        return np.maximum(self._column("opinions")[positions].astype(np.int64), self.overlap)

    def is_blind(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """bool [k]: which of ``positions`` are shown without a suggestion.

        The audit slice; what is asked again, since a second opinion that was shown a model's would be none; and records
        in which there is nothing to judge, or that are not embedded.
        """
        told = self._embedded & ~self._column("audit") & ~self._column("empty")
        return np.asarray(~told[positions] | self._asked[positions])

    def waiting_on_platform(self) -> int:
        """How many records on the platform still wait for an answer."""
        return int((self._open & self._column("pushed")).sum())

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Labels that were given and the question lacks -> of how many records. Their answers are not learned."""
        return self._answers.unknown_labels

    def counts(self) -> dict[str, int]:
        """Records, those on the platform, those labelled, the audited and settled among them, those asked again."""
        now = copy(self)  # the table as it is at this moment: the loop may be adding records on another thread
        active, labelled = now._column("active"), now._labelled
        return {
            "records": int(active.sum()),
            "pushed": int((active & now._column("pushed")).sum()),
            "labelled": int(labelled.sum()),
            "audited": int((labelled & now._audit).sum()),
            "held_out": int((labelled & now._column("held_out")).sum()),
            "asked_again": int((now._open & now._asked).sum()),
            "settled": int((labelled & now._column("settled")).sum()),
        }

    def label_counts(self) -> dict[str, int]:
        """How many labelled records carry each label, spans as often as they come."""
        return self.question.count(self.targets(np.flatnonzero(self._labelled)))

    def parent_counts(self) -> dict[str, int]:
        """How many answered records belong to each parent of labels, those included of which only that was said."""
        return parent_counts(self.question.labeling.tree, self.label_counts(), self._answers.parents)
