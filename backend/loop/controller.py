"""The loop: compare what is with what should be, and do the difference.

What should be: every record embedded and on the platform; a model that has seen the whole annotation log; a
queue generation published from that model. What is: in the store. There is no list of things to do that could
get lost: after a crash at any point the same comparison starts the same work again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import structlog

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.pool.voices import figures
from nextlabel.backend.queue.asked import note_asked, said_now
from nextlabel.backend.queue.overlap import OverlapRequests, ask_platform_again, check_known, one_more
from nextlabel.backend.queue.publishing import LabelLatency, QueuePublisher, QueueSizes
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.candidates import Labelled
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.retraining.model import Learner, Model
from nextlabel.backend.store import GenerationRow, Store
from nextlabel.connectors.base import Connector, Progress
from nextlabel.connectors.errors import RecordsRejected, Stopping
from nextlabel.connectors.records import Annotation

from .agreement import Agreement
from .leadership import Leadership
from .marks import Marks
from .record_sync import RecordSync
from .suggesting import Suggesting

log = structlog.get_logger(__name__)
SUGGESTERS_S = 0.2
"""Seconds between two looks at whether suggesters have said what a first queue waits for."""
IDLE = 1.0
"""Seconds between two looks at the store when nobody wakes us: a label may have come in through another replica."""


class Controller:
    """One project's loop. ``tick`` does the next piece of work and returns how long there is nothing to do.

    It calls ``on_model`` with each probe that it fitted, ``on_unknown_records`` with the remote ids of records that
    were answered and that we don't have, and ``on_rejected`` when the platform refused records of the queue. Those that
    are ``missing`` on the platform, for all that is known, are not queued.
    """

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
        agreement: Agreement,
        suggesting: Suggesting,
        on_model: Callable[[Model], None],
        missing: Callable[[], Collection[str]],
        on_unknown_records: Callable[[set[str]], None],
        on_rejected: Callable[[], None],
    ) -> None:
        self.pool = pool
        self.latency = LabelLatency()
        self.model: Model | None = None
        self.state = "starting"
        self.ready = False  # whether the answers of the log are known here
        self.progress = (0, 0)
        self._store, self._connector = store, connector
        self._learner, self._ranker = learner, ranker
        self._leadership, self._sizes, self._seed = leadership, sizes, seed
        self.records = RecordSync(store, connector, learner, ranker, pool, self._report)
        self._queue = QueuePublisher(store, connector, pool, sizes.head)
        self._on_model, self._on_unknown_records, self._on_rejected = on_model, on_unknown_records, on_rejected
        self._agreement, self._missing = agreement, missing
        self._suggesting = suggesting
        self._figures: dict[str, dict[str, Any]] = {}  # of the suggesters, when the newest queue was made
        self.pool.listen(suggesting.names)
        self._marks = Marks(store, pool.question)
        self._overlap = OverlapRequests(store, connector, pool)
        self._settling: frozenset[str] = frozenset()  # adjudicators' ids, by which what is in the pool was settled
        self._seen = 0  # log sequence up to which answers are in the pool
        self._asked: deque[tuple[list[int], int]] = deque()
        self._unknown_records: dict[str, list[Annotation]] = {}  # answers to records that we don't have yet
        self._returned = False  # to look again
        self._stopping = False
        self._lock = threading.RLock()

    # -- called from elsewhere ---------------------------------------------------------------------------------------

    @property
    def generation(self) -> GenerationRow | None:
        """The queue in force; None before the first."""
        return self._queue.generation

    def ask_again(self, uids: Sequence[str], opinions: int | None = None) -> int:
        """Have these records answered by ``opinions`` annotators in all, soon, and none of them twice by the same one.

        None: each by one more than by now. Holds across restarts. They are shown without a suggestion. What they say
        by now is noted, for queue.asked to tell what came of it. Returns how many records were asked about.
        Raises ConfigError if a record can't be asked about, ConnectorError if the platform doesn't do it.
        """
        check_known(self._store, uids)
        wanted = one_more(self._store, self._connector, uids) if opinions is None else {opinions: list(uids)}
        asked = 0
        for number, group in wanted.items():
            notes = said_now(self._store, self.pool.question, group)
            positions = ask_platform_again(self._store, self._connector, group, number)
            note_asked(self._store, notes)
            self._asked.append((positions, number))
            asked += len(positions)
        return asked

    def begin_stop(self) -> None:
        """Leave off at the next step that is counted: what is embedded or pushed by then stays so."""
        self._stopping = True

    def look_again(self) -> None:
        """Somebody else did something to queue or records: they led meanwhile, or unhooked us. See at the next tick."""
        self._returned = True

    @property
    def trouble(self) -> str:
        """What stands in the way of second opinions, of suggesters, or of who settles records; "" if nothing does."""
        if self._suggesting.trouble:
            return self._suggesting.trouble
        if self._overlap.trouble or not (unknown := self._store.unknown_adjudicators()):
            return self._overlap.trouble
        there = ", ".join(sorted(self._store.annotator_names().values())) or "nobody yet"
        return (
            f"adjudicators: {', '.join(unknown)} can't be found on the platform, so they settle nothing; there are "
            f"{there}. Correct the recipe and start the service again, or give them an account"
        )

    @property
    def space(self) -> EmbeddingSpace:
        """The space that the pool's vectors are of."""
        return self.records.space

    def suggesters(self) -> list[dict[str, Any]]:
        """How the suggesters are: see Suggesting.status. Figures are those of the newest queue."""
        model = self.model
        return self._suggesting.status(self._figures, None if model is None else model.weights)

    def move_to(self, space: EmbeddingSpace) -> None:
        """Work in ``space`` from the next tick on. Its cache should hold all records but a few."""
        self.records.move_to(space)

    @property
    def move_error(self) -> str:
        """Why the loop stays where it was though it was told to move; "" if it moved, or is about to."""
        return self.records.move_error

    def labelled(self) -> Labelled:
        """A copy of what the loop knows of the answers, for those who take their time with it."""
        with self._lock:
            pool, training, audited = self.pool, self.pool.training(), self.pool.audited()
            return Labelled(
                self._seen,
                self.space,
                training,
                pool.targets(training),
                pool.targets(training, settled=False),
                pool.is_settled(training),
                pool.rows[training],
                pool.sampling_keys[training],
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
            if self._returned:
                self._returned = False
                self._queue.look_again()
                self.records.look_again()
                self._overlap = OverlapRequests(self._store, self._connector, self.pool)
                self._suggesting.again()
            self.records.move()
            if self.model is not None and self.model.space is not self.space:
                self.model = None  # a new probe is fitted before anything is ranked
            self.records.load()
            self.records.push_answered() if self._sizes.window else self.records.push_all()
            self._take_in()
            head = self._store.head()
            if self._queue.generation is None and self._suggesting.holds_up():
                self.state = f"asking {', '.join(self._suggesting.names)}"
                self.progress = self._suggesting.progress(len(self.pool))
                return SUGGESTERS_S
            if self.model is None or self._queue.is_stale(head):
                self.state, self.progress = "learning", (0, 0)
                self._advance(head)
                return 0.0
            return self._extend(self.model)

    def _take_in(self) -> None:
        """Take in what other threads told us."""
        if self.records.update():
            self.model = None  # what was answered is read otherwise, and learned so
        if self._suggesting.tell(self.pool, now=self._queue.generation is None):
            self.model = None  # there is more to weigh beside it
        if (settling := self._store.adjudicators()) != self._settling:  # one of them is known by name now
            self._settling, self._seen, self.model = settling, 0, None
        while self._asked:
            positions, opinions = self._asked.popleft()
            at = np.array(positions, dtype=np.int64)
            self._overlap.by_hand(at)
            self.pool.ask_again(at, opinions)

    def _report(self, state: str, offset: int, total: int | None) -> Progress:
        """A progress callback that shows in ``status``; ``offset`` is what earlier batches did of ``total``.

        It raises Stopping once the service ends.
        """

        def report(done: int, of: int) -> None:
            if self._stopping:
                raise Stopping(f"the service ends while {state}")
            self.state, self.progress = state, (offset + done, of if total is None else total)

        return report

    # -- the fast step -----------------------------------------------------------------------------------------------

    def _advance(self, head: int) -> None:
        """Refit on the log up to ``head``, rank, publish."""
        started = time.perf_counter()
        self._answer()
        self._agreement.settle(self.pool, self.space)
        self._seen, self.ready = head, True
        model = self.model
        if model is None or model.log_seq < head:
            model = self._learner.fit(self.pool, head, self.space, model)
            self.model = model
            self._on_model(model)
        self._figures = figures(self.pool)
        fitted = time.perf_counter()
        ranking = self._rank(model, head)
        revision = self.pool.revision
        entries = self._queue.entries(model, ranking)
        ranked = time.perf_counter()
        try:
            row = self._queue.publish(head, model, entries, revision)
        except RecordsRejected:
            self._on_rejected()  # one of them may be gone: the queue stands still until that is known
            raise
        waits = self.latency.published(head)
        log.info(
            "queue published",
            generation=row.version,
            log_seq=head,
            labelled=self.pool.counts()["labelled"],
            new_answers=len(waits),
            fit_ms=round(1e3 * (fitted - started)),
            rank_ms=round(1e3 * (ranked - fitted)),
            publish_ms=round(1e3 * (time.perf_counter() - ranked)),
        )

    def _answer(self) -> None:
        """Take in what was answered. Answers to records that we don't have wait until those are imported."""
        answers = {**self._unknown_records, **self._store.touched(self._seen)}
        answers |= self._store.answers_on(self.pool.companions(answers) - answers.keys())
        unknown = self.pool.answer(self._marks.counted(answers))
        unknown_records = {remote_id: answers[remote_id] for remote_id in unknown if answers[remote_id]}
        if news := unknown_records.keys() - self._unknown_records.keys():
            self._on_unknown_records(news)
        self._unknown_records = unknown_records

    def _rank(self, model: Model, head: int) -> Positions:
        rng = np.random.default_rng([self._seed, head])
        self.pool.hold([*self._connector.in_hand(), *self._missing()])
        window, size = self._sizes.window, self._sizes.ranked
        own = self._overlap.own()
        plan = self._ranker.plan(self.pool, model, size, rng, pushed_only=window is None, own=own)
        ranking = plan.order[~np.isin(plan.order, self._overlap.ask(plan.ask))]
        if window is None:
            return ranking
        self.records.feed(ranking, window)
        return ranking[self.pool.is_pushed(ranking)]

    def _extend(self, model: Model) -> float:
        """Nothing new: append the next stretch of the ranking to the queue in force if nobody labels, or sleep."""
        self._overlap.close_settled()
        todo, due = self._queue.rest(model)
        pause = self.latency.quiet_in() if todo else IDLE
        if pause:
            self.state = "idle"
            if not todo:
                self.progress = (0, 0)
            return min(pause, IDLE)
        self.state = todo
        if todo == "suggesting":
            counts = self.pool.counts()
            self.progress = (counts["pushed"] - len(due), counts["pushed"])
        self._queue.extend(model, due)
        return 0.0
