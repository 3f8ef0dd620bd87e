"""Deletes queue generations that are no longer in force, when nobody is waiting for the platform."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector

log = structlog.get_logger(__name__)

QUIET = 2.0
"""Seconds without a label before tidying starts: deleting shares the platform with the annotators."""
BACKLOG = 200
"""Generations left lying about before tidying no longer waits for a quiet moment."""


class Janitor:
    """Retires old generations one at a time. ``last_activity`` gives the monotonic time of the last label."""

    def __init__(self, store: Store, connector: Connector, last_activity: Callable[[], float]) -> None:
        self._store = store
        self._connector = connector
        self._last_activity = last_activity

    def tidy(self) -> float:
        """Retire at most one generation; return seconds until the next look."""
        in_force = self._store.latest_generation()
        if in_force is None:
            return QUIET
        # A generation planned after the one in force is being published right now, or was cut off: not old yet.
        old = [row for row in self._store.unretired() if row.number < in_force.number]
        if not old:
            return QUIET
        quiet = time.monotonic() - self._last_activity()
        if quiet < QUIET and len(old) < BACKLOG:
            return QUIET - quiet
        self._connector.retire(old[0].version)
        self._store.mark_retired(old[0].version)
        log.debug("generation retired", generation=old[0].version, left=len(old) - 1)
        return 0.0
