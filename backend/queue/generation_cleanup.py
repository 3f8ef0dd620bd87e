"""Deletes queue generations that are no longer in force: not too early, and not while people wait for the platform.

Not too early: whoever opened a record holds on to the suggestion that they were shown. Label Studio refuses the
answer (400, parent_prediction) if that suggestion was deleted meanwhile. So how long a generation has been out of force
is measured, from the first look on, by a clock that nobody sets: one put right by an hour would seem to be an hour.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from nextlabel.backend.store import GenerationRow, Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.clocks import elapsed
from nextlabel.connectors.errors import PlatformError

from .latency import QUIET

log = structlog.get_logger(__name__)

BACKLOG = 200
"""Generations due before tidying no longer waits for a quiet moment."""


class GenerationCleanup:
    """Retires generations ``keep_s`` seconds after they were replaced, one at a time.

    ``quiet_in`` says how many seconds of labelling lie ahead: deleting shares the platform with the annotators.
    """

    def __init__(self, store: Store, connector: Connector, keep_s: float, quiet_in: Callable[[], float]) -> None:
        self._store = store
        self._connector = connector
        self._keep_s = keep_s
        self._quiet_in = quiet_in
        self._due_at: dict[str, float] = {}
        self._refused: set[str] = set()  # generations that the platform keeps, as it said; until the next start

    def tidy(self) -> float:
        """Retire at most one generation; return seconds until the next look."""
        due = self._due()
        if not due:
            return QUIET
        if (pause := self._quiet_in()) and len(due) < BACKLOG:
            return pause
        try:
            self._connector.retire(due[0].version)
        except PlatformError as error:  # this one, whatever it is, must not keep all that came after it
            self._refused.add(due[0].version)
            log.warning("a generation stays on the platform", generation=due[0].version, reason=str(error))
            return 0.0
        self._store.mark_retired(due[0].version)
        log.debug("generation retired", generation=due[0].version, left=len(due) - 1)
        return 0.0

    def _due(self) -> list[GenerationRow]:
        in_force = self._store.latest_generation()
        if in_force is None:
            return []
        # A generation planned after the one in force is being published right now, or was cut off: not old yet.
        rows = [row for row in self._store.unretired() if row.number <= in_force.number]
        now = elapsed()
        replaced = {row.version: next_row.planned_at for row, next_row in itertools.pairwise(rows)}
        self._due_at = {
            version: self._due_at[version] if version in self._due_at else now + self._left(when)
            for version, when in replaced.items()
        }
        due = (row for row in rows if self._due_at.get(row.version, math.inf) <= now)
        return [row for row in due if row.version not in self._refused]

    def _left(self, replaced: datetime) -> float:
        """Seconds until a generation is due that we see for the first time: what it was out of force before counts.

        Only the time of day tells that, and one that lies in the future tells nothing.
        """
        age = (datetime.now(UTC) - replaced).total_seconds()
        return self._keep_s - min(max(age, 0.0), self._keep_s)
