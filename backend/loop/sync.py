"""What the platform has and the store lacks: pulled at start and on a timer, because no webhook is sure to arrive.

Polls go by a cursor. What slipped through both, or was hidden wrongly by an earlier version, is found by comparing the
whole log with the whole platform: at the start, once an hour, and whenever somebody asks.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.basics import batched
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Changes

from .intake import Intake
from .news import forget, tell_of_misfits
from .record_import import RecordImport
from .steps import Steps

log = structlog.get_logger(__name__)

CURSOR = "annotations"
ANSWERS, CORRECTED, ADDED = "answers", "corrected records", "added records"
UNREAD, DELETED = "records that could not be read", "deleted records"
RECORDS = 1000
"""Records compared at a time."""
NEWEST = 50
"""So many of the newest answers tell whether the platform is as it was before they were given."""
DELETIONS_EVERY = 300.0
"""Seconds between two looks for records that were deleted on the platform without an event reaching us."""

SHARE = 0.25
"""Of the time, the most that the platform is kept busy with."""
LONGEST_PAUSE_S = 5.0
WATCH_S = 0.5
"""Seconds between two looks at whether what was doubted is settled."""
KEY = "comparison"
"""Where the store keeps what the last comparison came to."""


class Sync:
    """Pulls records, annotations and deletions from the platform into the store.

    ``noticed`` is told what a poll found besides. What fails of a round stands in ``steps``, and stops nothing else.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        intake: Intake,
        records: RecordImport,
        *,
        noticed: Callable[[Changes], None],
    ) -> None:
        self._store = store
        self._connector = connector
        self._intake = intake
        self._records = records
        self._noticed = noticed
        self.steps = Steps()
        self._answers_known = False
        self._surplus = 0  # how many records more the platform had than we, when we last looked why
        self._next_deletions = 0.0
        self._records_wanted = True  # somebody may have added some while we were away
        self._away = True  # whether the platform, or we, may have been: a backup of it may have been restored
        self._unknown_records: set[str] = set()

    def want_records(self, remote_ids: Iterable[str] = ()) -> None:
        """Somebody added records on the platform, these among them: import them at the next pull."""
        self._unknown_records.update(remote_ids)
        self._records_wanted = True

    @property
    def is_ready(self) -> bool:
        """Whether it is known what was answered while we were away, and which records there are."""
        return self._answers_known and self._records.are_known

    def pull(self) -> bool:
        """One round; whether another should follow at once. Safe to repeat after any failure.

        Answers come before the records that they are about: which were there before a record was known is seen then.
        Raises PlatformUnavailable if they can't be asked for; what else fails stands in ``steps``.
        """
        take = self.steps.take
        take(ANSWERS, self._look, passed_on=PlatformUnavailable)
        if self._answers_known:
            take(ADDED, self._import_records)
        if time.monotonic() >= self._next_deletions:
            take(UNREAD, self._records.read_again)
            take(DELETED, self._find_deletions)
        return self._records_wanted and ADDED not in self.steps.errors

    def _look(self) -> None:
        """What was answered, corrected, added and taken away since the cursor."""
        as_of = self._store.head()
        changes = self._look_back(self._changes())
        _, doubts = self._intake.read(changes, as_of)
        self._answers_known = True
        self._intake.doubt(doubts)
        kept = self.steps.take(CORRECTED, partial(self._correct, changes))
        if changes.missed:
            self.steps.failed(CORRECTED, changes.missed)
        self._count(changes.total)
        self._noticed(changes)
        self._away = False
        if kept and changes.cursor is not None:
            self._store.set_cursor(CURSOR, changes.cursor)

    def _correct(self, changes: Changes) -> None:
        self._records.keep(changes.records, changes.annotations)
        if changes.annotations or changes.records:
            tell_of_misfits(self._store)

    def _changes(self) -> Changes:
        try:
            return self._connector.changes(self._store.get_cursor(CURSOR))
        except PlatformUnavailable:
            self._away = True
            raise

    def _look_back(self, changes: Changes) -> Changes:
        """Where there may be reason to, see whether the platform went back in time; then, all is to be compared."""
        away, lost = self._away, changes.total is not None and changes.total - self._store.held() < self._surplus
        if (away or lost or changes.gap) and self._connector.has_gone_back(self._store.newest_answers(NEWEST)):
            log.warning("the platform is as it was at an earlier time: was a backup restored?")
            self._intake.withheld.note_restore()
            changes = replace(changes, gap=True)
        return replace(changes, gap=changes.gap or away)

    def _count(self, total: int | None) -> None:
        """Where the platform has another number of records than we, and not since long: look what came or went."""
        if total is None:
            return
        surplus = total - self._store.held()
        if surplus != self._surplus:
            self._surplus = surplus
            self._records_wanted |= surplus > 0
            if surplus < 0:
                self.want_deletions()

    def _import_records(self) -> None:
        if not self._records_wanted:
            return
        unknown_records, self._unknown_records, self._records_wanted = self._unknown_records, set(), False
        try:
            if self._records.run(unknown_records):  # what was listed just now is there
                self._next_deletions = time.monotonic() + DELETIONS_EVERY
        except BaseException:
            self.want_records(unknown_records)
            raise

    def want_deletions(self) -> None:
        """Records seem to be gone: look for them at the next pull."""
        self._next_deletions = 0.0

    def _find_deletions(self) -> None:
        known = self._store.remote_ids()
        self._intake.lose_records(known, self._connector.missing(known))
        self._next_deletions = time.monotonic() + DELETIONS_EVERY


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison came to.

    ``answers``: annotations on the platform, drafts too. ``found``: rows that the log gained by it. ``withheld``:
    what the platform lacks, or has otherwise, that was told instead of believed; 0 means that both agree, but for what
    somebody decided to keep (``kept``). ``ended_at``: ISO 8601, UTC.
    """

    answers: int
    found: int
    withheld: int
    ended_at: str
    kept: int = 0

    @property
    def agree(self) -> bool:
        """Whether log and platform are the same now."""
        return not self.withheld

    def as_json(self) -> dict[str, Any]:
        """Plain values: the fields, ``agree``, and ``age_s``, seconds since it ended."""
        age = (datetime.now(UTC) - datetime.fromisoformat(self.ended_at)).total_seconds()
        return {**asdict(self), "agree": self.agree, "age_s": max(0, round(age))}


def last_comparison(store: Store) -> Compared | None:
    """What the last comparison came to; None before the first, or where it was noted by another version."""
    try:
        return Compared(**json.loads(store.get_meta(KEY) or ""))
    except (ValueError, TypeError):
        return None


class Comparison:
    """Compares when it is time. ``tick`` belongs to one thread, the rest to any.

    Every annotation that the platform lists is held against the log, and every answer of the log that it does not list
    is asked for by itself; what every record says is held against the store. Goes page by page and leaves the platform
    time for its annotators.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        intake: Intake,
        records: RecordImport,
        *,
        on_back: Callable[[list[str]], None],
        every_s: float,
    ) -> None:
        self._store, self._connector, self._intake = store, connector, intake
        self._records, self._on_back = records, on_back
        self._every_s = every_s
        self._not_before = 0.0
        self._stop = threading.Event()
        self.running = False
        self.ended = 0

    def status(self) -> dict[str, Any]:
        """What the last one came to, ``agree`` and ``age_s`` included; empty before the first."""
        last = last_comparison(self._store)
        return ({} if last is None else last.as_json()) | {"ended": self.ended, "running": self.running}

    def ask(self) -> int:
        """Compare now, or anew if one is running: the next :meth:`tick` does. Returns ``ended`` as it will be then."""
        self._not_before = 0.0
        return self.ended + 1 + self.running

    def stop(self) -> None:
        """The service ends: leave off between two pages."""
        self._stop.set()

    def tick(self) -> float:
        """Compare if it is time; return seconds to sleep."""
        wait = self._not_before - time.monotonic()
        if wait > 0:
            return wait
        self._not_before = time.monotonic() + self._every_s
        self.running = True
        try:
            self._compare()
        except BaseException:
            self._not_before = 0.0
            raise
        finally:
            self.running = False
        return 0.0

    def _compare(self) -> None:
        started = time.monotonic()
        head, settled = self._store.head(), self._intake.settled
        listed: set[str] = set()
        doubted: dict[str, str] = {}
        found = 0
        self._intake.doubt_withheld()
        pages = self._connector.annotated()
        while not self._stop.is_set():
            began, as_of = time.monotonic(), self._store.head()
            page = next(pages, None)
            if page is None:
                break
            listed.update(*page.complete.values())
            new, doubts = self._intake.read(page, as_of)
            found, doubted = found + new, doubted | doubts
            self._pause(began)
        known = self._store.answers(drafts=True, until=head)
        kept = self._intake.withheld.is_kept
        doubted |= {one.id: one.remote_id for one in known if one.id not in listed and not kept(one.id)}
        self._intake.doubt(doubted)
        self._compare_records()
        found += self._welcome_back()
        while not self._intake.is_settled:
            if self._stop.wait(WATCH_S):
                return
        if not self._stop.is_set():
            self._note(len(listed), found + self._intake.settled - settled, time.monotonic() - started)

    def _compare_records(self) -> None:
        batches = batched(self._connector.records(), RECORDS)
        while not self._stop.is_set():
            began = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            self._records.keep(batch)
            self._pause(began)

    def _pause(self, began: float) -> None:
        """Leave the platform alone for a while, after a page that was begun then."""
        took = time.monotonic() - began
        self._stop.wait(min(LONGEST_PAUSE_S, took / SHARE - took))

    def _welcome_back(self) -> int:
        """Records that were taken for deleted, and are there; how many they are."""
        gone = self._store.gone_ids()
        missing = set(self._connector.missing(gone))
        back = [remote_id for remote_id in gone if remote_id not in missing]
        if back:
            log.warning("records that were taken for deleted are on the platform", records=len(back))
            self._store.mark_back(back)
            self._on_back([item.record.uid for item in self._store.get_remote(back).values()])
        return len(back)

    def _note(self, answers: int, found: int, took: float) -> None:
        ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        withheld = self._intake.withheld
        withheld.compared()
        compared = Compared(answers, found, withheld.count, ended_at, withheld.kept)
        self._store.set_meta(KEY, json.dumps(asdict(compared)))
        forget(self._store)
        self.ended += 1
        log.info("log and platform compared", took_s=round(took, 1), **asdict(compared))
