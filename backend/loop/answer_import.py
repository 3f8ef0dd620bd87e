"""Answers from elsewhere: those that the store has noted and the platform lacks are put there, and read back at once.

Level-triggered, as all of the loop: whoever leads does it, the service or the command, and whoever is killed leaves
the rest to the next. What the platform has of an answer is in the log before it is noted that it is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from nextlabel.backend.store import Notice, Store, WaitingAnswer
from nextlabel.connectors.base import Connector, Progress, no_progress
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Changes, GivenAnswer

from .pushing import Pusher, given

log = structlog.get_logger(__name__)

BATCH = 200
"""Answers given between two looks at whether somebody wants us to stop."""
RECORDS = 2000
"""Records pushed at once, with their answers where the platform takes both together."""
IDLE = 2.0
"""Seconds between two looks for answers to give."""
REFUSED = "imported answer"
"""The kind of notices about answers from elsewhere that the platform does not take."""
FIX = "correct it in the file and import that again, or change what the project takes; `--again` has it tried again"
NOTICES = 50
"""So many refusals are told one by one."""
PATIENCE_S = 60.0
"""How long records that were pushed may take until the platform shows them."""


class AnswerImport:
    """Gives the platform what waits. Belongs to one thread.

    ``take`` logs what was read at a head of the log; ``about`` is told which records are about to be answered.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        take: Callable[[Changes, int], object],
        about: Callable[[list[str]], object] = lambda uids: None,
    ) -> None:
        self._store, self._connector = store, connector
        self._take, self._about = take, about

    def tick(self) -> float:
        """Give the next; return seconds to sleep. Raises ConnectorError: it is tried again."""
        return 0.0 if self.step() else IDLE

    def step(self) -> int:
        """Give the platform the next answers; how many of them are settled now, 0 where nothing waits.

        Raises PlatformUnavailable where the platform shows none of their records yet, and other ConnectorErrors.
        """
        waiting = self._store.waiting_answers(BATCH)
        if not waiting:
            return 0
        self._about([one.answer.uid for one in waiting])
        batch = _Batch(self._store, waiting, self._take)
        refused = self._connector.give(batch.answers(), batch.take)
        batch.refuse(refused)
        if not batch.settled:
            raise PlatformUnavailable(f"{len(waiting)} imported answers are about records that are not shown yet")
        return batch.settled

    def run(self, progress: Progress = no_progress, keep_on: Callable[[], bool] = lambda: True) -> None:
        """Push the records that wait for an answer, and give all answers; where nothing else runs on the store.

        Ends early once ``keep_on`` says so. Raises ConnectorError.
        """
        pusher = Pusher(self._store, self._connector)
        done, total = 0, self._store.import_counts().waiting
        until = time.monotonic() + PATIENCE_S
        while keep_on():
            progress(done, total)
            records = [one for one in self._store.waiting_records(RECORDS) if not pusher.is_aside(one.uid)]
            if records:
                pusher.push(records)
            try:
                settled = self.step()
            except PlatformUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)
                continue
            if not settled and not records:
                return
            done, until = done + settled, time.monotonic() + PATIENCE_S


class _Batch:
    """Answers that are given together."""

    def __init__(self, store: Store, waiting: list[WaitingAnswer], take: Callable[[Changes, int], object]) -> None:
        self._store, self._take = store, take
        self._keys = {given(store.instance, one.remote_id, one.answer).key: one for one in waiting}
        self._numbers = {(one.remote_id, one.answer.annotator): one.number for one in waiting}
        self._as_of = store.head()
        self.settled = 0

    def answers(self) -> list[GivenAnswer]:
        """As a connector takes them."""
        return [given(self._store.instance, one.remote_id, one.answer) for one in self._keys.values()]

    def take(self, changes: Changes) -> None:
        """The platform has these now."""
        self._take(changes, self._as_of)
        there: dict[int, str] = {}
        for one in changes.annotations:
            if (number := self._numbers.pop((one.remote_id, one.annotator), None)) is not None:
                there[number] = one.id
        unread = ((self._numbers.pop((one.remote_id, one.annotator), None), one) for one in changes.unreadable)
        odd = {number: f"it can't be read back: {one.reason}" for number, one in unread if number is not None}
        self._store.note_answers_there(there, odd)
        self.settled += len(there) + len(odd)

    def refuse(self, refused: dict[str, str]) -> None:
        """The platform does not take these: key -> why."""
        found = {self._keys[key].number: why for key, why in refused.items() if key in self._keys}
        self._store.note_answers_there({}, found)
        self.settled += len(found)
        told = [
            Notice(
                f"{REFUSED} {one.answer.uid} {one.answer.annotator}",
                REFUSED,
                f"the platform does not take an answer from {one.answer.source} to {one.answer.uid!r}: {refused[key]}",
                FIX,
                one.remote_id,
            )
            for key, one in self._keys.items()
            if key in refused
        ]
        if told:
            log.warning("imported answers are refused", answers=len(told), reason=next(iter(refused.values())))
            self._store.notify(*told[:NOTICES])
