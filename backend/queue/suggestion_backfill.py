"""Suggestions for what no queue has reached, on platforms that store suggestions and never ask for one.

There a record has the suggestion that was published with its place, or none. So once the queue's head and tail are
out, and nobody labels, everything else that is open gets one, stretch by stretch: what was added last goes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.records import QueueEntry


class SuggestionBackfill:
    """Knows which records still lack a suggestion; what it knows survives a restart."""

    def __init__(self, store: Store, connector: Connector, pool: PoolState) -> None:
        self._store, self._connector, self._pool = store, connector, pool
        self._unsaved: list[int] = []
        self._places = 0

    def published(self, entries: Sequence[QueueEntry]) -> None:
        """``entries`` are on the platform, as the head of a new generation or behind what there was of it."""
        self._places = max(entry.rank for entry in entries) + 1
        if not self._connector.live_predictions:
            shown = (entry.remote_id for entry in entries if entry.suggestion is not None)
            self._unsaved += self._pool.note_suggested(shown)

    def due(self) -> Positions:
        """int64 [k]: positions to suggest something for, newest first. None where the platform asks by itself."""
        return self._pool.unsuggested()[: 0 if self._connector.live_predictions else None]

    def fill(self, version: str, entries: Sequence[QueueEntry]) -> None:
        """Append ``entries``, counted from rank 0, to generation ``version``.

        An entry without a suggestion has none that could be shown, and is left alone until the next start. Raises
        RecordsRejected once, and then leaves these records alone likewise; ConnectorError.
        """
        placed = [QueueEntry(entry.remote_id, self._places + entry.rank, entry.suggestion) for entry in entries]
        try:
            self._connector.extend(version, placed)
        except RecordsRejected:
            self._pool.note_suggested(entry.remote_id for entry in entries)
            raise
        self.published(placed)
        self._pool.note_suggested(entry.remote_id for entry in entries)  # after: only what was shown is written down

    def save(self) -> None:
        """Write down what was published since the last call. What a crash forgets is suggested once more."""
        if self._unsaved:
            self._store.mark_suggested(self._unsaved)
            self._unsaved = []
