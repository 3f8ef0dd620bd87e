"""What the platform lacks, or has otherwise, and is told instead of believed, until somebody decides who is right.

That is most of what we know, gone at once; or anything at all on a platform that has gone back in time, since a backup
of it was restored. Until then the answers count here, and the records are not queued. What somebody decided to keep
stays so, over restarts too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping

import structlog

from nextlabel.backend.store import Notice, Store

log = structlog.get_logger(__name__)

BELIEVE, KEEP = "nextlabel compare --believe", "nextlabel compare --keep"
DECIDE = f"if the platform is right: {BELIEVE}; if what is here is right: {KEEP}"
NOTICE = "platform differs"
"""Key and kind of the notice."""
WENT_BACK, KEPT, RULE = "platform went back", "kept against the platform", "right if restored"
"""Where the store has it."""


def decide_beforehand(store: Store, side: str | None) -> None:
    """Who is right where the platform goes back in time: the "platform", "ours", or somebody decides then (None)."""
    if (side or "") != (store.get_meta(RULE) or ""):
        store.set_meta(RULE, side or "")


class Withheld:
    """Thread-safe. ``went_back``: whether the platform is as it was at an earlier time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._answers: dict[str, str] = {}  # id -> remote id of the record
        self._records: set[str] = set()
        self._reused: set[str] = set()  # ids of answers that were lost, and others have now
        kept = json.loads(store.get_meta(KEPT) or "{}")
        self._kept: dict[str, str] = dict(kept.get("answers", {}))
        self._kept_records = set(kept.get("records", ()))
        self.went_back = bool(store.get_meta(WENT_BACK))
        self._keeping = False  # what the comparison that was asked for finds withheld is kept, too
        self._noticed: str | None = None  # what the notice says; None: not known yet

    def note_answers(self, asked: Collection[str], withheld: Mapping[str, str]) -> None:
        """Of the answers ``asked`` for, these are withheld now (id -> remote id of the record), and no others."""
        with self._lock:
            left = {one: record for one, record in self._answers.items() if one not in asked} | dict(withheld)
            decided = self._reused | self._kept.keys()  # it may have been decided since they were asked for
            self._answers = {one: record for one, record in left.items() if one not in decided}
        self._tell()

    def note_reused(self, ids: Collection[str]) -> None:
        """Other answers have these ids now: what had them before is lost here, too."""
        with self._lock:
            self._reused |= set(ids)
            self._answers = {one: record for one, record in self._answers.items() if one not in self._reused}
        self._tell()

    def note_records(self, asked: Collection[str], withheld: Collection[str]) -> None:
        """Of the records ``asked`` for, these are withheld now, and no others."""
        with self._lock:
            self._records = (self._records - set(asked) | set(withheld)) - self._kept_records
        self._tell()

    def found_records(self, remote_ids: Collection[str]) -> None:
        """These are there: none of them is gone, and what others had said under their ids is."""
        if self._records.isdisjoint(remote_ids):
            return
        visible = self._store.visible(self._answers)
        with self._lock:
            self._records -= set(remote_ids)
            self._answers = {one: record for one, record in self._answers.items() if one in visible}
        self._tell()

    @property
    def answers(self) -> dict[str, str]:
        """Answers that are withheld: id -> remote id of the record."""
        return dict(self._answers)

    @property
    def records(self) -> frozenset[str]:
        """Remote ids of records that are withheld."""
        return frozenset(self._records)

    @property
    def absent_records(self) -> frozenset[str]:
        """Remote ids of records that nobody can answer on the platform, but which count here."""
        return frozenset(self._records | self._kept_records)

    @property
    def count(self) -> int:
        """How many answers and records are withheld."""
        return len(self._answers) + len(self._records)

    @property
    def kept(self) -> int:
        """How many answers and records somebody has decided to keep."""
        return len(self._kept) + len(self._kept_records)

    def is_kept(self, one: str) -> bool:
        """Whether somebody has decided to keep this answer, whatever the platform says."""
        return one in self._kept

    def is_kept_record(self, remote_id: str) -> bool:
        """The same of a record."""
        return remote_id in self._kept_records

    @property
    def told(self) -> str:
        """What there is to tell, and how to decide; "" if there is nothing."""
        return f"{message}; {DECIDE}" if (message := self._message()) else ""

    # -- decisions ---------------------------------------------------------------------------------------------------

    def note_restore(self) -> None:
        """The platform is as it was at an earlier time: whatever it lacks is told, until somebody has decided."""
        if self._store.get_meta(RULE) == "platform":
            return
        self.went_back = True
        self._store.set_meta(WENT_BACK, "yes")

    def compared(self) -> None:
        """Everything was asked for: there may be nothing to decide, or it was decided beforehand."""
        if self._keeping or (self.went_back and self._store.get_meta(RULE) == "ours"):
            self._keep()
        if not self.count:
            self.end()

    def end(self) -> None:
        """Somebody has decided, or there was nothing to decide."""
        self._keeping = False
        self._reused.clear()
        if self.went_back:
            self.went_back = False
            self._store.set_meta(WENT_BACK, "")

    def keep(self) -> None:
        """What is here is right: it stays, and is told no more. So is what the next comparison finds.

        Nothing that the platform lacks is believed before that has ended: what was asked for already may not have been
        withheld yet, and after a restart nothing is.
        """
        self._keeping = True
        self._keep()

    def _keep(self) -> None:
        with self._lock:
            self._kept |= self._answers
            self._kept_records |= self._records
            self._answers, self._records = {}, set()
        self._save()
        self._tell()

    def forget_kept(self) -> tuple[dict[str, str], set[str]]:
        """The platform is right after all: what was kept is so no more. Returns it, answers and records."""
        with self._lock:
            found = self._kept, self._kept_records
            self._kept, self._kept_records = {}, set()
        self._save()
        return found

    def _save(self) -> None:
        kept = {"answers": self._kept, "records": sorted(self._kept_records)}
        self._store.set_meta(KEPT, json.dumps(kept) if self.kept else "")

    def _message(self) -> str:
        counts = ((len(self._answers), "answers"), (len(self._records), "records"))
        what = " and ".join(f"{count:,} {name}" for count, name in counts if count)
        if not what:
            return ""
        if self.went_back:
            restored = "the platform is as it was at an earlier time (was a backup restored?)"
            lost = f", and {len(self._reused):,} more, whose ids others have now" if self._reused else ""
            return f"{restored}: it lacks, or has otherwise, {what}{lost}, and nothing was changed here"
        return f"the platform lacks, or has otherwise, {what} at once, so nothing was changed here"

    def _tell(self) -> None:
        message = self._message()
        if message == self._noticed:
            return
        if message:
            log.warning(f"{message}; {DECIDE}")
            self._store.notify(Notice(NOTICE, NOTICE, message, DECIDE))
        else:
            self._store.dismiss([NOTICE])
        self._noticed = message
