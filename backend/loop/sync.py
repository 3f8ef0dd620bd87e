"""What the platform has and the store lacks: pulled at start and on a timer, because no webhook is sure to arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import structlog

from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.batches import batched
from nextlabel.connectors.records import Changes, RemoteRecord

from .intake import Intake

log = structlog.get_logger(__name__)

CURSOR = "annotations"
NEWEST = "newest records on the platform"
MARKS = 100
"""So many of the newest records are remembered: the next look goes back to one of these."""
BATCH = 50
"""Records looked at together; a look goes on for at least that many beyond the last news."""
DELETIONS_EVERY = 300.0
"""Seconds between two looks for records that were deleted on the platform without an event reaching us."""


class Sync:
    """Pulls records, annotations and deletions from the platform into the store.

    ``found`` is told which records are there; ``noticed`` what a poll found besides.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        intake: Intake,
        *,
        found: Callable[[list[str]], None],
        noticed: Callable[[Changes], None],
    ) -> None:
        self._store = store
        self._connector = connector
        self._intake = intake
        self._found = found
        self._noticed = noticed
        self._next_deletions = 0.0
        self._records_wanted = True  # somebody may have added some while we were away
        self._unknown_records: set[str] = set()

    def want_records(self, remote_ids: Iterable[str] = ()) -> None:
        """Somebody added records on the platform, these among them: import them at the next pull."""
        self._unknown_records.update(remote_ids)
        self._records_wanted = True

    def pull(self) -> bool:
        """One round; whether another should follow at once. Safe to repeat after any failure: the cursor moves last."""
        if self._records_wanted:
            unknown_records, self._unknown_records, self._records_wanted = self._unknown_records, set(), False
            try:
                self._import_records(unknown_records)
            except BaseException:
                self.want_records(unknown_records)
                raise
        as_of = self._store.head()
        changes = self._connector.changes(self._store.get_cursor(CURSOR))
        _, doubts = self._intake.read(changes, as_of)
        self._intake.doubt(doubts)
        if changes.records_added:
            self.want_records()
        self._noticed(changes)
        if changes.cursor is not None:
            self._store.set_cursor(CURSOR, changes.cursor)
        if time.monotonic() >= self._next_deletions:
            self._find_deletions()
            self._next_deletions = time.monotonic() + DELETIONS_EVERY
        return self._records_wanted

    def _import_records(self, unknown_records: set[str]) -> None:
        """Records that others put on the platform join the pool; those that we pushed are recognised by their uid.

        The first time every record is read; later on only the newest, back to one that was the newest last time, and
        on until all ``unknown_records`` are found.
        """
        known = self._store.get_meta(NEWEST)
        if known is None:
            newest = [item.remote_id for item in islice(self._connector.records(newest_first=True), MARKS)]
            for batch in batched(self._connector.records(), 1000):
                self._keep(batch)
            log.info("platform records read", records=self._store.size())
        else:
            newest = self._import_newest(set(json.loads(known)), unknown_records)
        self._store.set_meta(NEWEST, json.dumps(newest))

    def _import_newest(self, marks: set[str], unknown_records: set[str]) -> list[str]:
        """Import back to a batch without news that lies beyond one of ``marks``; return the ids of the newest records.

        A record may be stored a moment after one that says it is newer: hence the batch without news.
        """
        newest: list[str] = []
        reached, added = False, 0
        for batch in batched(self._connector.records(newest_first=True), BATCH):
            ids = [item.remote_id for item in batch]
            newest += ids[: MARKS - len(newest)]
            known = self._store.get_remote(ids)
            news = [item for item in batch if item.remote_id not in known]
            self._keep(news)
            reached |= not marks.isdisjoint(ids)
            unknown_records = unknown_records.difference(ids)
            added += len(news)
            if reached and not news and not unknown_records:
                break
        if added:
            log.info("records found on the platform", records=added)
        return newest

    def _keep(self, items: Sequence[RemoteRecord]) -> None:
        self._store.add_listed(items)
        self._found([item.record.uid for item in items])

    def want_deletions(self) -> None:
        """Records seem to be gone: look for them at the next pull."""
        self._next_deletions = 0.0

    def _find_deletions(self) -> None:
        known = self._store.remote_ids()
        self._intake.lose_records(known, self._connector.missing(known))
