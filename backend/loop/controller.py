"""The loop: compare what is with what should be, and do the difference.

What should be: every record embedded and on the platform; a model that has seen the whole annotation log; a
queue generation published from that model. What is: in the store. There is no list of things to do that could
get lost: after a crash at any point the same comparison starts the same work again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog

from nextlabel.backend.learning.folds import Targets
from nextlabel.backend.store import GenerationRow, Store, StoredRecord
from nextlabel.connectors.base import Connector, Progress
from nextlabel.connectors.batches import batched
from nextlabel.connectors.records import Annotation, QueueEntry

from .asking import ask_platform_again
from .filler import Filler
from .latency import LabelLatency
from .leadership import Leadership
from .learner import Learner
from .model import Model
from .pool import PoolState, Positions
from .ranking import Ranker
from .space import Space

log = structlog.get_logger(__name__)

IDLE = 1.0
"""Seconds between two looks at the store when nobody wakes us: a label may have come in through another replica."""
PUSH_BATCH = 5000
"""Records sent to the platform between two looks at whether somebody wants us to stop."""
EMBED_BATCH = 4096


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """How much of the ranking is published: ``head`` at once, up to ``tail`` more when there is a quiet moment.

    ``window``: feed mode, the platform holds at most that many open records; None pushes the whole pool.
    """

    head: int = 50
    tail: int = 200
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was answered when it was asked for: positions, answers, and rows in the cache of ``space``.

    ``lots`` float64 [m]: the training records' lots, see PoolState.
    """

    log_seq: int
    space: Space
    training: Positions
    targets: Targets
    rows: Positions
    lots: npt.NDArray[np.float64]
    audited: Positions
    audit_targets: Targets
    audit_rows: Positions


class Controller:
    """One project's loop. ``tick`` does the next piece of work and returns how long there is nothing to do."""

    def __init__(
        self,
        *,
        store: Store,
        connector: Connector,
        learner: Learner,
        ranker: Ranker,
        pool: PoolState,
        leadership: Leadership,
        sizes: QueueSizes,
        seed: int,
    ) -> None:
        self.pool = pool
        self.latency = LabelLatency()
        self.generation: GenerationRow | None = store.latest_generation()
        self.model: Model | None = None
        self.state = "starting"
        self.progress = (0, 0)
        self._store, self._connector = store, connector
        self._learner, self._ranker = learner, ranker
        self._space = learner.space()
        self._next_space: Space | None = None  # where to move at the next tick
        self._noted: str | None = None  # the space that the store knows to be in use
        self._leadership, self._sizes, self._seed = leadership, sizes, seed
        self.on_model: Callable[[Model], None] = lambda model: None
        self.on_strangers: Callable[[set[str]], None] = lambda remote_ids: None
        self._loaded = -1  # position of the last record taken into the pool
        self._seen = 0  # log sequence up to which answers are in the pool
        self._published_revision = -1
        self._tail: deque[QueueEntry] = deque()
        self._filler = Filler(store, connector, pool)
        self._gone: deque[str] = deque()
        self._found: deque[str] = deque()
        self._asked: deque[tuple[list[int], int]] = deque()
        self._strangers: dict[str, list[Annotation]] = {}  # answers to records that we don't have yet
        self._lock = threading.RLock()

    # -- called from elsewhere ---------------------------------------------------------------------------------------

    def records_gone(self, remote_ids: Iterable[str]) -> None:
        """The platform lost these records; the store knows already."""
        self._gone.extend(remote_ids)

    def records_found(self, uids: Iterable[str]) -> None:
        """The platform has these records; the store knows already."""
        self._found.extend(uids)

    def ask_again(self, uids: Sequence[str], opinions: int) -> int:
        """Have these records answered by ``opinions`` annotators in all, soon, and none of them twice by the same one.

        Holds across restarts. They are shown without a suggestion. Returns how many records were asked about.
        Raises ConfigError if a record can't be asked about, ConnectorError if the platform doesn't do it.
        """
        positions = ask_platform_again(self._store, self._connector, uids, opinions)
        self._asked.append((positions, opinions))
        return len(positions)

    @property
    def space(self) -> Space:
        """The space that the pool's vectors are of."""
        return self._space

    def move_to(self, space: Space) -> None:
        """Work in ``space`` from the next tick on. Its cache should hold all records but a few."""
        self._next_space = space

    def labelled(self) -> Labelled:
        """A copy of what the loop knows of the answers, for those who take their time with it."""
        with self._lock:
            pool, training, audited = self.pool, self.pool.training(), self.pool.audited()
            return Labelled(
                self._seen,
                self._space,
                training,
                pool.targets(training),
                pool.rows[training],
                pool.lots[training],
                audited,
                pool.targets(audited),
                pool.rows[audited],
            )

    def tick(self) -> float:
        """The next piece of work. Returns seconds to sleep; 0 if there may be more to do."""
        if not self._leadership.held:
            self.state = "standing by"
            return IDLE
        with self._lock:
            self._move()
            self._load()
            if self._sizes.window is None:
                self._push_all()
            self._hear()
            head = self._store.head()
            if self._behind(head):
                self.state, self.progress = "learning", (0, 0)
                self._advance(head)
                return 0.0
            return self._extend()

    def _hear(self) -> None:
        """Take in what other threads told us."""
        while self._gone:
            self.pool.drop([self._gone.popleft()])
        if self._found:
            self._placed([self._found.popleft() for _ in range(len(self._found))])
        while self._asked:
            positions, opinions = self._asked.popleft()
            self.pool.ask_again(np.array(positions, dtype=np.int64), opinions)

    def _report(self, state: str, offset: int = 0, total: int | None = None) -> Progress:
        """A progress callback that shows in ``status``; ``offset`` is what earlier batches did of ``total``."""

        def report(done: int, of: int) -> None:
            self.state, self.progress = state, (offset + done, of if total is None else total)

        return report

    # -- records -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Records added to the store since the last look: embed them, take them into the pool."""
        total = self._store.size()
        for batch in batched(self._store.records(after=self._loaded), EMBED_BATCH):
            rows = self._embed(self._space, batch, self._loaded + 1, total)
            self.pool.add(batch, rows)
            self._ranker.note_seeds(self.pool, batch, rows, self._space)
            self._loaded = batch[-1].position

    def _embed(self, space: Space, batch: Sequence[StoredRecord], offset: int, total: int) -> Positions:
        """Rows of the records of ``batch`` in the cache of ``space``; what is not there is encoded."""
        texts = [self.pool.labeling.text(item.record) for item in batch]
        return space.cache.ensure(texts, space.encoder, self._report("embedding", offset, total))

    def _move(self) -> None:
        """To the vectors of another trained model, if the Mover says so: it has had the records encoded."""
        space = self._next_space
        if space is not None and space is not self._space:
            self._change(space)
        if self._next_space is space:
            self._next_space = None
        if self._noted != self._space.version:
            self._learner.note_in_use(self._space)
            self._noted = self._space.version

    def _change(self, space: Space) -> None:
        log.info("moving to another model", model=space.version or "the recipe's own encoder", records=len(self.pool))
        rows = np.full(len(self.pool), -1, dtype=np.int64)
        for batch in batched(self._store.records(), EMBED_BATCH):
            known = [item for item in batch if item.position < len(rows)]
            if known:
                rows[[item.position for item in known]] = self._embed(space, known, known[0].position, len(rows))
        self.pool.set_rows(rows)
        self._space, self.model = space, None  # a new probe is fitted before anything is ranked

    def _push_all(self) -> None:
        while batch := self._store.unpushed(PUSH_BATCH):
            self._store.set_remote(self._connector.push(batch, self._report("pushing")))
            self._placed([record.uid for record in batch])

    def _placed(self, uids: list[str]) -> None:
        stored = self._store.get(uids)
        self.pool.set_remote({item.position: item.remote_id for item in stored if item.remote_id is not None})

    def _feed(self, ranking: Positions, window: int) -> None:
        """Feed mode: top the platform's window up from the best of the ranking."""
        room = max(window - self.pool.waiting_on_platform(), 0)
        wanted = ranking[~self.pool.is_pushed(ranking)][:room]
        if len(wanted):
            records = [item.record for item in self._store.at(wanted.tolist())]
            self._store.set_remote(self._connector.push(records))
            self._placed([record.uid for record in records])

    # -- the fast step -----------------------------------------------------------------------------------------------

    def _behind(self, head: int) -> bool:
        return (
            self.generation is None
            or self.model is None
            or self.generation.log_seq < head
            or self._published_revision != self.pool.revision
        )

    def _advance(self, head: int) -> None:
        """Refit on the log up to ``head``, rank, publish."""
        started = time.perf_counter()
        self._answer()
        self._seen = head
        model = self.model
        if model is None or model.log_seq < head:
            model = self._learner.fit(self.pool, head, self._space, model)
            self.model = model
            self.on_model(model)
        fitted = time.perf_counter()
        ranking = self._rank(model, head)
        revision = self.pool.revision
        entries = self._entries(model, ranking)
        ranked = time.perf_counter()
        row = self._store.plan_generation(head, model.version, len(entries))
        if entries:  # with nothing left to label there is no queue to change
            self._connector.publish(row.version, entries[: self._sizes.head])
            self._filler.published(entries[: self._sizes.head])
        self._store.mark_published(row.number)
        self.generation, self._published_revision = row, revision
        self._tail = deque(entries[self._sizes.head :])
        waits = self.latency.published(head)
        log.info(
            "queue published",
            generation=row.version,
            log_seq=head,
            labels=len(waits),
            fit_ms=round(1e3 * (fitted - started)),
            rank_ms=round(1e3 * (ranked - fitted)),
            publish_ms=round(1e3 * (time.perf_counter() - ranked)),
        )

    def _answer(self) -> None:
        """Take in what was answered. Answers to records that we don't have wait until those are imported."""
        answers = {**self._strangers, **self._store.touched(self._seen)}
        strangers = {remote_id: answers[remote_id] for remote_id in self.pool.answer(answers) if answers[remote_id]}
        if news := strangers.keys() - self._strangers.keys():
            self.on_strangers(news)
        self._strangers = strangers

    def _rank(self, model: Model, head: int) -> Positions:
        rng = np.random.default_rng([self._seed, head])
        self.pool.hold(self._connector.in_hand())
        wanted = self._sizes.head + self._sizes.tail
        window = self._sizes.window
        if window is None:
            return self._ranker.rank(self.pool, model, wanted, rng, pushed_only=True)
        ranking = self._ranker.rank(self.pool, model, max(wanted, window), rng, pushed_only=False)
        self._feed(ranking, window)
        return ranking[self.pool.is_pushed(ranking)]

    def _entries(self, model: Model, ranking: Positions) -> list[QueueEntry]:
        suggestions = model.suggestions(self.pool, ranking)
        blind = self.pool.is_blind(ranking)
        remote_ids = self.pool.remote_ids(ranking)
        return [
            QueueEntry(remote_id, rank, None if blind[rank] or model.is_blank else suggestions[rank])
            for rank, remote_id in enumerate(remote_ids)
        ]

    def _extend(self) -> float:
        """Nothing new: append the next stretch of the ranking to the queue in force if nobody labels, or sleep."""
        blank = self.model is None or self.model.is_blank
        due = self._filler.due()[: 0 if blank else None]
        if self.generation is None or self.model is None or not (self._tail or len(due)):
            self._filler.save()
            self.state, self.progress = "idle", (0, 0)
            return IDLE
        if pause := self.latency.quiet_in():
            self.state = "idle"
            return min(pause, IDLE)
        if self._tail:
            self.state = "publishing"
            stretch = [self._tail.popleft() for _ in range(min(self._sizes.head, len(self._tail)))]
            self._connector.extend(self.generation.version, stretch)
            self._filler.published(stretch)
        else:
            counts = self.pool.counts()
            self.state, self.progress = "suggesting", (counts["pushed"] - len(due), counts["pushed"])
            self._filler.fill(self.generation.version, self._entries(self.model, due[: self._sizes.head]))
            self._filler.save()
        return 0.0
