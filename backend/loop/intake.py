"""The one door into the annotation log: what is written there was read from the platform.

A webhook is a hint that says where to look, and proves nothing: its secret is no secret to whoever may list webhooks.
What a listing lacks is a doubt. Both end in the same question: the annotation itself is asked for, and what the
platform answers is written down. Where most of what we know seems to be gone, or changed, at once, it is not believed:
it is told, and somebody decides.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

import structlog

from nextlabel.backend.annotators.names import names_of
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConnectorError
from nextlabel.connectors.records import Annotation, Changes, Found, Hint, sorted_out

from .news import tell_of_departed, tell_of_records
from .withheld import Withheld

Source = Literal["webhook", "poll"]
log = structlog.get_logger(__name__)
SLICE = 50
"""Annotations asked for between two looks for newer hints: each may be a request."""
MOST_HINTS = 10_000
"""Hints that wait. Whoever sends more has found our secret; the next poll finds what is dropped here."""
MOST_FAILURES = 3
"""Times that a doubted annotation is asked for alone in vain before it is left to the next comparison."""
LOOKS_S = (0.2, 0.8, 3.0)
"""Seconds until an announced annotation that is not there yet is looked for again. Then it is left to the poll."""
MANY = 10
"""So many answers or records, and more than half of all, are not taken for deleted or changed at once."""
IDLE = 5.0
VERSION_SLACK_S = 60.0
"""How much earlier than its generation an answer may be dated that was shown a suggestion of it: clocks differ."""


@dataclass(frozen=True, slots=True)
class _Hinted:
    """An annotation that a webhook spoke of: its record where known, when we heard of it, and when to look."""

    remote_id: str | None
    heard_at: float
    due: float
    looks: int = 0
    seen_version: str = ""

    def later(self, now: float) -> _Hinted:
        """The same, to be looked for again: it is not there yet, or could not be asked for."""
        return replace(self, due=now + LOOKS_S[self.looks], looks=self.looks + 1)


class Intake:
    """Reads from the platform what there is to know, and logs it. ``tick`` belongs to one thread, the rest to any.

    ``on_news`` is told that the log has grown, and when the webhook came that made us look (monotonic clock; None
    without one); ``on_gone`` which records are gone; ``wake`` that there is something to do for ``tick``.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        *,
        on_news: Callable[[float | None], None],
        on_gone: Callable[[Iterable[str]], None],
        wake: Callable[[], None],
    ) -> None:
        self._store, self._connector = store, connector
        self._on_news, self._on_gone, self._wake = on_news, on_gone, wake
        self._hinted: dict[str, _Hinted] = {}
        self._doubted: dict[str, str] = {}
        self._doubted_records: set[str] = set()
        self._slice = SLICE
        self._failed: dict[str, int] = {}  # doubted, asked for alone, and how often that failed
        self._sweep = _Sweep()
        self._asked_records: set[str] = set()
        self._gone_records: set[str] = set()
        self._believes = False
        self.settled = 0  # rows that the log has gained by asking, since the start
        self.withheld = Withheld(store)
        self._lock = threading.Lock()

    # -- called from elsewhere ---------------------------------------------------------------------------------------

    def notify(self, hint: Hint) -> bool:
        """Look where a webhook says, now; whether there was room for it."""
        now = time.monotonic()
        with self._lock:
            if len(self._hinted) + len(self._doubted_records) > MOST_HINTS:
                return False
            for number, remote_id in hint.annotations.items():
                earlier = self._hinted.get(number)
                heard_at = now if earlier is None else earlier.heard_at
                version = hint.seen_versions.get(number, "")
                self._hinted[number] = _Hinted(remote_id, heard_at, now, seen_version=version)
            self._doubted_records |= hint.records
        self._wake()
        return True

    def read(self, changes: Changes, as_of: int) -> tuple[int, dict[str, str]]:
        """Log what a look at the platform found that began at the head ``as_of``.

        Returns the number of rows added, and what contradicts the log or is missing: that should be doubted, all of a
        look at once, so that it can be seen how much it is.
        """
        new = self._append(changes, "poll", as_of)
        self._set_aside(changes)
        if new:
            self._on_news(None)
        return new, self._store.doubts(changes, as_of)

    def doubt(self, annotations: Mapping[str, str]) -> None:
        """Ask for these annotations (id -> remote id of the record) by themselves."""
        if annotations:
            with self._lock:
                self._doubted |= annotations
            self._wake()

    def lose_records(self, asked: Collection[str], gone: Collection[str]) -> None:
        """Of the records that the platform was ``asked`` for one by one, these are ``gone``."""
        began = datetime.now(UTC)
        gone = [one for one in gone if not self.withheld.is_kept_record(one)]
        withheld = self._is_too_much(len(gone), lambda: len(self._store.remote_ids()))
        self.withheld.note_records(asked, gone if withheld else ())
        if not withheld and gone and self._store.mark_gone(gone):
            tell_of_records(self._store, began)
            self._store.dismiss(records=gone)
            log.info("records deleted on the platform", records=len(gone))
            self._on_gone(gone)
            self._on_news(None)

    def doubt_withheld(self, *, believe: bool = False) -> None:
        """Ask once more for what was told instead of believed. ``believe``: somebody has decided that it is so."""
        self._believes |= believe
        answers, records = self.withheld.answers, set(self.withheld.records)
        if believe:
            kept, kept_records = self.withheld.forget_kept()
            answers, records = answers | kept, records | kept_records
            self.withheld.end()
        with self._lock:
            self._doubted |= answers
            self._doubted_records |= records
        self._wake()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is doubted at present."""
        return not (self._doubted or self._doubted_records or self._sweep.asked or self._asked_records)

    # -- one thread's work -------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """Ask for the next annotations and records; return seconds to sleep. What fails is asked for again."""
        self._follow_hints()
        self._ask_doubted()
        self._ask_records()
        with self._lock:
            pause = max(0.0, min([IDLE, *(one.due - time.monotonic() for one in self._hinted.values())]))
            busy, busy_records = bool(self._doubted) or not pause, bool(self._doubted_records)
        if not busy:
            self._settle()
        if not busy_records and self._asked_records:
            self.lose_records(self._asked_records, self._gone_records)
            self._asked_records, self._gone_records = set(), set()
        self._believes = self._believes and not self.is_settled
        return 0.0 if busy or busy_records else pause

    def _follow_hints(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = dict(islice(((number, one) for number, one in self._hinted.items() if one.due <= now), SLICE))
            self._hinted = {number: one for number, one in self._hinted.items() if number not in due}
        if not due:
            return
        left = set(due)
        try:
            # Of what the log has, it knows better than the event on which record to look.
            places = {number: one.remote_id for number, one in due.items()} | self._store.visible(due)
            found, as_of = self._ask(places)
            read, _ = sorted_out(found.values())
            shown = [self._with_version(one, due[one.id].seen_version) for one in read]
            self._take(shown, "webhook", as_of, min(one.heard_at for one in due.values()))
            left -= {number for number, one in found.items() if one is not None} | self._sweep.absent
        finally:
            again = {
                number: one.later(now) for number, one in due.items() if number in left and one.looks < len(LOOKS_S)
            }
            with self._lock:
                self._hinted = {**again, **self._hinted}  # what was heard meanwhile is newer

    def _with_version(self, one: Annotation, version: str) -> Annotation:
        """With the version that its annotator is said to have been shown, if it is one that was in force then.

        Label Studio says so in webhooks only. Nothing goes by it but a column of the export.
        """
        generation = self._store.generation_of(version) if version else None
        if generation is None or generation.published_at is None:
            return one
        early = (generation.published_at - one.updated_at).total_seconds()
        return one if early > VERSION_SLACK_S else replace(one, seen_version=version)

    def _ask_doubted(self) -> None:
        with self._lock:
            doubted = dict(islice(self._doubted.items(), self._slice))
        if not doubted:
            return
        try:
            found, as_of = self._ask(doubted)
        except ConnectorError:
            self._ask_apart(doubted)
            raise
        self._slice = min(SLICE, 2 * self._slice)
        self._take(sorted_out(found.values())[0], "poll", as_of)
        with self._lock:
            for number in doubted:
                self._doubted.pop(number, None)

    def _ask_apart(self, doubted: Mapping[str, str]) -> None:
        """One of these can't be asked for: that must not hold up the others. In the end the next comparison has to."""
        alone, self._slice = len(doubted) == 1, 1
        with self._lock:
            for number, remote_id in doubted.items():
                self._failed[number] = self._failed.get(number, 0) + alone
                if self._doubted.pop(number, None) is not None and self._failed[number] < MOST_FAILURES:
                    self._doubted[number] = remote_id  # behind the others
            self._failed = {number: times for number, times in self._failed.items() if number in self._doubted}

    def _ask_records(self) -> None:
        with self._lock:
            doubted = sorted(islice(self._doubted_records, SLICE))
        if not doubted:
            return
        known = [remote_id for remote_id, item in self._store.get_remote(doubted).items() if not item.gone]
        self._gone_records.update(self._connector.missing(known))
        self._asked_records.update(doubted)
        with self._lock:
            self._doubted_records.difference_update(doubted)

    def _ask(self, wanted: Mapping[str, str | None]) -> tuple[dict[str, Found | None], int]:
        """What the platform says of these annotations, and the head of the log from before it was asked.

        What the log has otherwise is noted for :meth:`_settle`. Those that can't be read are set aside: what the log
        has of them stays.
        """
        as_of = self._store.head()
        found = self._connector.annotations(wanted)
        here, unreadable = sorted_out(found.values())
        gone = [number for number, one in found.items() if one is None]
        self._set_aside(Changes(here, unreadable=unreadable), absent=gone)
        said = {**{one.id: one for one in here}, **dict.fromkeys(gone)}
        self._sweep.note(said, self._store.doubts(Changes(here), as_of), self._store.visible(gone), as_of)
        return found, as_of

    def _set_aside(self, changes: Changes, absent: Collection[str] = ()) -> None:
        people = {one.annotator for one in changes.unreadable if one.annotator}
        names = names_of(people, self._store, self._connector) if people else {}
        self._store.set_aside(changes, absent, names)

    def _take(
        self, annotations: Sequence[Annotation], source: Source, as_of: int, heard_at: float | None = None
    ) -> None:
        """Log those that the log does not have otherwise."""
        news = tuple(one for one in annotations if one.id not in self._sweep.differing)
        if rows := self._append(Changes(news), source, as_of):
            self.settled += rows if source == "poll" else 0
            self._on_news(heard_at)

    def _append(self, changes: Changes, source: Source, as_of: int) -> int:
        """Log what was read; return the rows added. A platform that went back gives ids of lost answers away again."""
        if self.withheld.went_back:
            known = self._store.visible(one.id for one in changes.annotations)
            self.withheld.note_reused(
                {one.id for one in changes.annotations if known.get(one.id, one.remote_id) != one.remote_id}
            )
        return self._store.append(changes, source, as_of)

    def _settle(self) -> None:
        """Write down what is gone or otherwise, unless it is too much to be believed. Ends the sweep."""
        sweep = self._sweep
        if not sweep.asked:
            return
        differing = {one: found for one, found in sweep.differing.items() if not self.withheld.is_kept(one)}
        differing = self._without_departed(differing)
        withheld = self._is_too_much(len(differing), lambda: self._store.log_counts()["answers"])
        self.withheld.note_answers(sweep.asked, {one: sweep.asked[one] for one in differing} if withheld else {})
        if not withheld and differing and (rows := self._store.settle(differing, "poll", sweep.as_of)):
            gone = sum(one is None for one in differing.values())
            log.info("the log follows the platform", gone=gone, otherwise=len(differing) - gone)
            self.settled += rows
            self._on_news(None)
        self._sweep = _Sweep()

    def _without_departed(self, differing: Mapping[str, Annotation | None]) -> dict[str, Annotation | None]:
        """All but answers that went with their annotator's account: nobody took those back. They stay, and are told."""
        given = self._store.annotators(number for number, one in differing.items() if one is None)
        departed = set(self._connector.departed(set(given.values()))) if given else set()
        kept = {number: who for number, who in given.items() if who in departed}
        if kept:
            tell_of_departed(self._store, Counter(kept.values()))
        return {number: one for number, one in differing.items() if number not in kept}

    def _is_too_much(self, count: int, total: Callable[[], int]) -> bool:
        if self._believes or not count:
            return False
        return self.withheld.went_back or (count >= MANY and 2 * count > total())


class _Sweep:
    """What was asked for since everything was last settled. Belongs to the thread that asks."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}  # id -> remote id of the record, "" where it is not known
        self.differing: dict[str, Annotation | None] = {}  # what the log has otherwise; None: not there
        self.as_of: int | None = None  # the head of the log from before the first of them was asked for

    @property
    def absent(self) -> set[str]:
        """Answers that count, and are not there."""
        return {number for number, one in self.differing.items() if one is None}

    def note(
        self,
        found: Mapping[str, Annotation | None],
        contradicted: Iterable[str],
        absent: Mapping[str, str],
        as_of: int,
    ) -> None:
        """Take in what was found by asking at the head ``as_of``."""
        self.asked |= {
            number: absent.get(number, "") if one is None else one.remote_id for number, one in found.items()
        }
        self.differing = {number: one for number, one in self.differing.items() if number not in found}
        self.differing |= {number: found[number] for number in contradicted} | dict.fromkeys(absent)
        self.as_of = as_of if self.as_of is None else min(self.as_of, as_of)
