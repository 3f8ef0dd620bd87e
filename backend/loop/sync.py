"""What the platform has and the store lacks: pulled at start and on a timer, because no webhook is sure to arrive."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.batches import batched
from nextlabel.connectors.records import Changes

from .ports import Source

log = structlog.get_logger(__name__)

CURSOR = "annotations"
IMPORTED = "platform records imported"
DELETIONS_EVERY = 300.0
"""Seconds between two looks for records that were deleted on the platform without an event reaching us."""


class Sync:
    """Pulls records, annotations and deletions from the platform into the store.

    ``take_in`` is the one door into the annotation log; webhooks use the same.
    """

    def __init__(
        self, store: Store, connector: Connector, take_in: Callable[[Changes, Source, int | None], int]
    ) -> None:
        self._store = store
        self._connector = connector
        self._take_in = take_in
        self._next_deletions = 0.0
        self._records_wanted = False

    def want_records(self) -> None:
        """Somebody added records on the platform: import them at the next pull."""
        self._records_wanted = True

    def pull(self) -> None:
        """One round. Safe to repeat after any failure in the middle: the cursor moves last."""
        if self._records_wanted or self._store.get_meta(IMPORTED) is None:
            self._records_wanted = False
            self._import_records()
        as_of = self._store.head()
        changes = self._connector.changes(self._store.get_cursor(CURSOR))
        self._take_in(changes, "poll", as_of)
        if changes.cursor is not None:
            self._store.set_cursor(CURSOR, changes.cursor)
        if time.monotonic() >= self._next_deletions:
            self._find_deletions()
            self._next_deletions = time.monotonic() + DELETIONS_EVERY

    def _import_records(self) -> None:
        """Records that others put on the platform join the pool; those that we pushed are recognised by their uid."""
        found = 0
        for batch in batched(self._connector.records(), 1000):
            self._store.add_records(item.record for item in batch)
            self._store.set_remote({item.record.uid: item.remote_id for item in batch})
            found += len(batch)
        self._store.set_meta(IMPORTED, "yes")
        log.info("platform records read", records=found)

    def _find_deletions(self) -> None:
        gone = self._connector.deletions(self._store.remote_ids())
        if gone:
            log.info("records deleted on the platform", records=len(gone))
            self._take_in(Changes(deleted_records=gone), "poll", None)
