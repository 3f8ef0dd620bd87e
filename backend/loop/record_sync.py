"""The same records everywhere: store, pool, embeddings and platform hold them, in the space that is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import structlog

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.retraining.model import Learner
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.base import Connector, Progress
from nextlabel.connectors.basics import batched

from .pictures import UnreadPictures
from .pushing import Pusher

log = structlog.get_logger(__name__)

PUSH_BATCH = 5000
"""Records sent to the platform between two looks at whether somebody wants us to stop."""
EMBED_BATCH = 4096

T = TypeVar("T")
Report = Callable[[str, int, int | None], Progress]
"""What makes a progress callback of a state, what earlier batches did, and of how many in all."""


class RecordSync:
    """The record side of one project's loop. ``gone``, ``found``, ``look_at_pictures``, ``move_to`` from any thread."""

    def __init__(
        self, store: Store, connector: Connector, learner: Learner, ranker: Ranker, pool: PoolState, report: Report
    ) -> None:
        self.space = learner.space()
        self._store, self._learner, self._ranker = store, learner, ranker
        self._pusher = Pusher(store, connector)
        self._pool, self._report = pool, report
        self._unread = UnreadPictures(store)
        self.move_error = ""  # why the last move came to nothing
        self._next_space: EmbeddingSpace | None = None  # where to move at the next tick
        self._noted: str | None = None  # the space that the store knows to be in use
        self._loaded = -1  # position of the last record taken into the pool
        self._gone: deque[str] = deque()
        self._found: deque[str] = deque()

    def gone(self, remote_ids: Iterable[str]) -> None:
        """The platform lost these records; the store knows already."""
        self._gone.extend(remote_ids)

    def found(self, uids: Iterable[str]) -> None:
        """What is known of these records, and of where the platform has them, is otherwise; the store knows already."""
        self._found.extend(uids)

    def move_to(self, space: EmbeddingSpace) -> None:
        """Work in ``space`` from the next :meth:`move` on, or ``move_error`` says why not.

        Its cache should hold all records but a few.
        """
        self.move_error = ""
        self._next_space = space

    def move(self) -> None:
        """To the vectors of another trained model, if the model switch says so: it has had the records encoded."""
        space = self._next_space
        if space is not None and space is not self.space:
            try:
                self._change(space)
            except Exception as error:  # whatever its encoder raises: the loop goes on with the model in use
                log.exception("the loop can't move to another model", model=space.version)
                self.move_error = str(error) or type(error).__name__
        if self._next_space is space:
            self._next_space = None
        if self._noted != self.space.version:
            self._learner.note_in_use(self.space)
            self._noted = self.space.version

    def _change(self, space: EmbeddingSpace) -> None:
        log.info("moving to another model", model=space.version or "the recipe's own encoder", records=len(self._pool))
        rows = np.full(len(self._pool), -1, dtype=np.int64)
        for batch in batched(self._store.records(), EMBED_BATCH):
            known = [item for item in batch if item.position < len(rows)]
            if known:
                rows[[item.position for item in known]] = self._embed(space, known, known[0].position, len(rows))
        self._pool.set_rows(rows)
        self.space = space

    def load(self) -> None:
        """Records added to the store since the last look: embed them, take them into the pool."""
        total = self._store.size()
        for batch in batched(self._store.records(after=self._loaded), EMBED_BATCH):
            rows = self._embed(self.space, batch, self._loaded + 1, total)
            self._pool.add(batch, rows)
            self._ranker.note_seeds(self._pool, batch, rows, self.space)
            self._loaded = batch[-1].position

    def look_again(self) -> None:
        """Another process led meanwhile: take in what the store knows by now of the records that we have."""
        for batch in batched(self._store.records(), EMBED_BATCH):
            self._add_again(batch)

    def _add_again(self, batch: Sequence[StoredRecord]) -> bool:
        """Take in what the store knows by now of records; those that the pool lacks are left to :meth:`load`.

        Whether there is something else to learn from: a record that has an answer has another vector.
        """
        known = [item for item in batch if item.position <= self._loaded]
        if not known:
            return False
        at = np.array([item.position for item in known])
        before = self._pool.rows[at]
        self._pool.add(known, self._embed(self.space, known, 0, len(known)))
        return bool(np.isin(at[before != self._pool.rows[at]], self._pool.training()).any())

    def _embed(self, space: EmbeddingSpace, batch: Sequence[StoredRecord], offset: int, total: int) -> Positions:
        """Rows of the records of ``batch`` in the cache of ``space``; what is not there is encoded.

        -1 for one of which a picture can't be read.
        """
        texts = [self._pool.labeling.content(item.record) for item in batch]
        rows = space.cache.ensure(texts, space.encoder, self._report("embedding", offset, total))
        self._unread.note(batch, texts, rows, space.encoder)
        return rows

    def look_at_pictures(self, stopping: Callable[[], bool]) -> float:
        """Ask again for pictures that could not be read, and take in those that can be. Seconds until the next time.

        From another thread than the rest: servers that are away keep one waiting.
        """
        found, pause = self._unread.look(self.space.encoder, stopping)
        self.found(found)
        return pause

    def push_all(self) -> None:
        """Every record that the platform has yet to get."""
        while batch := self._pusher.next(PUSH_BATCH):
            self._placed(self._pusher.push(batch, self._report("pushing", 0, None)))

    def push_answered(self) -> None:
        """Feed mode: records that have an answer from elsewhere go to the platform whatever their rank."""
        waiting = (one for one in self._store.waiting_records(PUSH_BATCH) if not self._pusher.is_aside(one.uid))
        if batch := list(waiting):
            self._placed(self._pusher.push(batch, self._report("pushing", 0, None)))

    def feed(self, ranking: Positions, window: int) -> None:
        """Feed mode: top the platform's window up from the best of the ranking."""
        room = max(window - self._pool.waiting_on_platform(), 0)
        wanted = ranking[~self._pool.is_pushed(ranking)] if room else ranking[:0]
        records = [item.record for item in self._store.at(wanted.tolist())]
        if batch := [record for record in records if not self._pusher.is_aside(record.uid)][:room]:
            self._placed(self._pusher.push(batch))

    def update(self) -> bool:
        """Take in what other threads told us of records; whether there is something else to learn from."""
        if self._gone:
            gone = _drained(self._gone)
            here = self._store.get_remote(gone)  # another record may have one of these ids by now
            here = {remote_id: item for remote_id, item in here.items() if item.gone}
            self._pool.drop([remote_id for remote_id in gone if remote_id in here])
            self._unread.forget(item.record.uid for item in here.values())
        return bool(self._found) and self._add_again(self._store.get(_drained(self._found)))

    def _placed(self, uids: list[str]) -> None:
        here = ((item.position, item.remote_id) for item in self._store.get(uids) if not item.gone)
        self._pool.set_remote({at: remote_id for at, remote_id in here if remote_id is not None})


def _drained(queue: deque[T]) -> list[T]:
    """What has been put into ``queue`` so far; others may put in more meanwhile."""
    return [queue.popleft() for _ in range(len(queue))]
