"""The queue on the platform: a generation at once, then more of its ranking in quiet moments.

A platform that stores suggestions and never asks for one shows none for a record that no queue has reached. So once the
queue's head and tail are out, and nobody labels, everything else that is open gets one, stretch by stretch: what was
added last goes first. Generations that are no longer in force are deleted: not too early, and not while people wait.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.retraining.model import Model
from nextlabel.backend.store import GenerationRow, Notice, Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.basics import elapsed
from nextlabel.connectors.errors import PlatformError, RecordsRejected
from nextlabel.connectors.records import Labeling, QueueEntry, can_be_given

log = structlog.get_logger(__name__)

BACKLOG = 200
"""Generations due before tidying no longer waits for a quiet moment."""
WINDOW = 2000
"""Labels looked back on."""
WAITS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0)
"""Seconds from label to queue by which waits are counted; the goals of both platforms, 1 and 4, are among them."""
QUIET = 2.0
"""Seconds without a label after which nobody is taken to be labelling: time for work that would slow the platform."""


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """How much of the ranking is published: ``head`` at once, up to ``tail`` more when there is a quiet moment.

    ``window``: feed mode, the platform holds at most that many open records; None pushes the whole pool.
    """

    head: int = 50
    tail: int = 200
    window: int | None = None

    @property
    def ranked(self) -> int:
        """How many records are ranked for a generation."""
        return max(self.head + self.tail, self.window or 0)


NO_PLACE = "place"
"""The kind of notices about records that the platform gives no place in the queue."""
NO_PLACE_FIX = (
    "correct the record on the platform, or what its project takes; it is tried again when it changes, and every ten "
    "minutes"
)


class QueuePublisher:
    """What is published of a ranking, and what is left to publish. Belongs to one thread.

    It knows which records still lack a suggestion; what it knows survives a restart.
    """

    def __init__(self, store: Store, connector: Connector, pool: PoolState, head: int) -> None:
        self.generation: GenerationRow | None = store.latest_generation()
        self._store, self._connector, self._pool, self._head = store, connector, pool, head
        self._revision = -1  # of the pool, when the generation in force was ranked
        self._asked: Labeling | None = None  # what the platform asked then
        self._tail: deque[QueueEntry] = deque()
        self._refused: Mapping[str, str] | None = None  # what was told of records without a place; None: not known
        self._unsaved: list[int] = []  # positions of records that had a suggestion since the last _save
        self._places = 0

    def look_again(self) -> None:
        """Another process published meanwhile: its queue is in force, and the next is made at once."""
        self.generation, self._revision = self._store.latest_generation(), -1
        self._tail.clear()

    def is_stale(self, head: int) -> bool:
        """Whether the log, or something else that a queue goes by, has moved on since the generation in force."""
        if self.generation is None or self.generation.log_seq < head or self._revision != self._pool.revision:
            return True
        return self._asked != self._connector.labeling

    def entries(self, model: Model, ranking: Positions) -> list[QueueEntry]:
        """The places of a queue, in order, each with a suggestion unless its record is to be answered blind.

        Nor where nobody could give the answer that is suggested: the platform may lack a label that the recipe has.
        """
        asked, shown = self._connector.labeling, np.flatnonzero(~(self._pool.is_blind(ranking) | model.is_blank))
        found = zip(shown.tolist(), model.suggestions(self._pool, ranking[shown]), strict=True)
        suggestions = {rank: one for rank, one in found if can_be_given(asked, one.value)}
        return [
            QueueEntry(remote_id, rank, suggestions.get(rank))
            for rank, remote_id in enumerate(self._pool.remote_ids(ranking))
        ]

    def publish(self, head: int, model: Model, entries: list[QueueEntry], revision: int) -> GenerationRow:
        """Put the first of ``entries`` on the platform, as the generation that knows the log up to ``head``.

        ``revision``: that of the pool they were ranked from.
        """
        asked = self._connector.labeling
        row = self._store.plan_generation(head, model.version, len(entries))
        if entries:  # with nothing left to label there is no queue to change
            self._connector.publish(row.version, entries[: self._head])
            self._published(entries[: self._head])
        self._store.mark_published(row.number)
        self.generation, self._revision, self._asked = row, revision, asked
        self._tail = deque(entries[self._head :])
        return row

    def rest(self, model: Model) -> tuple[str, Positions]:
        """What there is to append, as a state, and what still needs a suggestion; "" if there is nothing."""
        due = self._pool.unsuggested()[: 0 if model.is_blank or self._connector.live_predictions else None]
        if self._tail:
            return "publishing", due
        if len(due):
            return "suggesting", due
        self._save()
        return "", due

    def extend(self, model: Model, due: Positions) -> None:
        """Append the next stretch of the ranking to the generation in force, or, after the last, what is ``due``."""
        if self.generation is None:
            return
        if self._tail:
            stretch = [self._tail.popleft() for _ in range(min(self._head, len(self._tail)))]
            self._connector.extend(self.generation.version, stretch)
            self._published(stretch)
        else:
            self._fill(self.generation.version, self.entries(model, due[: self._head]))
            self._save()

    def _published(self, entries: Sequence[QueueEntry]) -> None:
        """``entries`` are on the platform, as the head of a new generation or behind what there was of it."""
        self._places = max(entry.rank for entry in entries) + 1
        self._tell_refused()
        if not self._connector.live_predictions:
            shown = (entry.remote_id for entry in entries if entry.suggestion is not None)
            self._unsaved += self._pool.note_suggested(shown)

    def _tell_refused(self) -> None:
        """Tell which records the platform gave no place, and why; and of none any more that has one now."""
        refused = self._connector.refused()
        if refused == self._refused:
            return
        told = self._store.notices(kind=NO_PLACE)
        self._store.dismiss(one.key for one in told if one.remote_id not in refused)
        says = "record {} on the platform has no place in the queue: {}".format
        self._store.notify(
            *(Notice(f"{NO_PLACE} {one}", NO_PLACE, says(one, why), NO_PLACE_FIX, one) for one, why in refused.items())
        )
        self._refused = refused

    def _fill(self, version: str, entries: Sequence[QueueEntry]) -> None:
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
        self._published(placed)
        self._pool.note_suggested(entry.remote_id for entry in entries)  # after: only what was shown is written down

    def _save(self) -> None:
        """Write down what was published since the last call. What a crash forgets is suggested once more."""
        if self._unsaved:
            self._store.mark_suggested(self._unsaved)
            self._unsaved = []


class LabelLatency:
    """Seconds from a label's arrival to the publication of the first generation that has seen it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, float]] = deque()
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._counts = [0] * (len(WAITS) + 1)  # of all waits since the start, by the first of WAITS that is not less
        self._sum = 0.0
        self._last = -math.inf
        self._published = -math.inf
        self._lock = threading.Lock()

    def arrived(self, log_seq: int, heard_at: float | None = None) -> None:
        """A label was logged as ``log_seq``; we first heard of it at ``heard_at`` (monotonic clock), or now."""
        with self._lock:
            self._last = time.monotonic()
            self._waiting.append((log_seq, self._last if heard_at is None else heard_at))

    def quiet_in(self) -> float:
        """Seconds until nobody has labelled for ``QUIET`` seconds; 0 if it is quiet."""
        return max(0.0, self._last + QUIET - time.monotonic())

    def published(self, log_seq: int) -> list[float]:
        """A generation that has seen the log up to ``log_seq`` is in force, now. Returns the waits that ended."""
        now = time.monotonic()
        ended = []
        with self._lock:
            self._published = now
            while self._waiting and self._waiting[0][0] <= log_seq:
                ended.append(now - self._waiting.popleft()[1])
            self._seconds.extend(ended)
            self._sum += sum(ended)
            for wait in ended:
                self._counts[bisect_left(WAITS, wait)] += 1
        return ended

    def histogram(self) -> dict[str, float]:
        """Seconds, as text -> how many labels have waited no longer since the start; ``sum``: all their seconds."""
        with self._lock:
            upto = itertools.accumulate(self._counts)
            return {**dict(zip([*map(str, WAITS), "+Inf"], upto, strict=True)), "sum": self._sum}

    def waiting_s(self) -> float:
        """How long the oldest label has waited that no generation has seen; 0 without one."""
        with self._lock:
            return time.monotonic() - self._waiting[0][1] if self._waiting else 0.0

    def age_s(self) -> float | None:
        """Seconds since the last generation; None before the first of this process."""
        return None if self._published == -math.inf else time.monotonic() - self._published

    def quantiles(self) -> tuple[float, float] | None:
        """Median and 95th percentile in seconds, None before the first."""
        with self._lock:
            seconds = list(self._seconds)
        if not seconds:
            return None
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        return float(p50), float(p95)


class GenerationCleanup:
    """Retires generations ``keep_s`` seconds after they were replaced, one at a time.

    Not earlier: whoever opened a record holds on to the suggestion that they were shown. Label Studio refuses the
    answer (400, parent_prediction) if that suggestion was deleted meanwhile. So how long a generation has been out of
    force is measured, from the first look on, by a clock that nobody sets: one put right by an hour would seem to be an
    hour.

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
