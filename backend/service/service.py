"""One project's service: the store, the loop's threads, and the answers to the HTTP edges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from typing_extensions import override

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.loop.agreement import Agreement
from nextlabel.backend.loop.answer_import import AnswerImport
from nextlabel.backend.loop.controller import Controller
from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.loop.leadership import Leadership, Repeater
from nextlabel.backend.loop.record_import import ImportPlan, RecordImport
from nextlabel.backend.loop.suggesting import Suggesting
from nextlabel.backend.loop.sync import Comparison, Sync
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import Prediction
from nextlabel.backend.queue.publishing import GenerationCleanup, QueueSizes
from nextlabel.backend.queue.ranking import Ranker
from nextlabel.backend.retraining.candidates import TrainingSetup
from nextlabel.backend.retraining.embedding_space import EmbeddingSpaces
from nextlabel.backend.retraining.model import Learner
from nextlabel.backend.retraining.retrainer import Retrainer
from nextlabel.backend.store import Store
from nextlabel.backend.suggesters import Suggester
from nextlabel.connectors.base import BackendAddress, Connector, ProjectRef
from nextlabel.connectors.errors import ConfigError, NextlabelError, Overloaded, ProjectTaken, StoreError
from nextlabel.connectors.records import Changes, Hint, Labeling, Record, Suggestion

from .answers import AnswerCounts
from .erasing import Eraser
from .hookup import Hookup
from .image_copies import ImageCopies, ImageCopy
from .links import AnnotatorLinks
from .ports import Backend, Status
from .predictor import Predictor
from .project import another_project, compare_labeling
from .status_report import StatusReport

log = structlog.get_logger(__name__)

BETWEEN_LOOKS = 1.0
"""Seconds between two looks of a thread that has nothing to do before something else happens."""
LONGEST_WAIT = 5.0
"""Seconds for which another process may be writing to the store before that is told."""
LONGEST_DEFERRAL = 6
"""Poll intervals for which a poll may be put off while people label."""


class Service(Backend):
    """The parts of a service, put together; nothing else does that. ``open_service`` does it for a recipe.

    Intervals in seconds, and how long a generation of the queue is kept that is no longer in force. With
    ``follows_labels`` the service is ``outdated`` once the project asks otherwise: it stops, to be opened anew.
    """

    def __init__(
        self,
        store: Store,
        connector: Connector,
        leadership: Leadership,
        setup: TrainingSetup,
        spaces: EmbeddingSpaces,
        *,
        ranker: Ranker,
        sizes: QueueSizes,
        agreement: Agreement,
        poll_interval: float,
        compare_interval: float,
        keep_generations: float,
        plan: ImportPlan = ImportPlan(),
        follows_labels: bool = False,
        images: ImageCopies | None = None,
        suggesters: Sequence[Suggester] = (),
        seed: int = 0,
    ) -> None:
        self._store, self._connector, self._images = store, connector, images
        learner = Learner(setup.question, spaces, store, setup.models, [one.name for one in suggesters])
        self._suggesting = suggesting = Suggesting(store, suggesters, lambda: self._stopped)
        self._controller = loop = Controller(
            store=store,
            connector=connector,
            learner=learner,
            ranker=ranker,
            pool=PoolState(setup.question, connector.overlap),
            leadership=leadership,
            sizes=sizes,
            seed=seed,
            agreement=agreement,
            suggesting=suggesting,
            on_model=lambda model: self._predictor.put_in_service(model),
            missing=lambda: self._intake.withheld.absent_records,
            on_unknown_records=self._want_records,
            on_rejected=self._want_deletions,
        )
        self._leadership, self._poll_interval = leadership, poll_interval
        self._retrainer = Retrainer(store, loop, spaces, setup)
        self._predictor = Predictor(
            store,
            connector,
            learner,
            plan.rule,
            labeling=lambda: self.labeling,
            suggesters={one.name: one.key for one in suggesters},
        )
        self._last_pull = -math.inf
        self._hookup = Hookup(store, connector, leadership, setup.project)
        self._follows_labels, self.outdated = follows_labels, False
        self._asked: Labeling | None = None  # what the project asked when that was last held against the recipe
        self.failure: NextlabelError | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self._intake = Intake(
            store,
            connector,
            on_news=self._log_grew,
            on_gone=loop.records.gone,
            wake=lambda: self._threads["intake"].wake(),
        )
        intake = self._intake

        def found(uids: Iterable[str]) -> None:
            uids = list(uids)
            loop.records.found(uids)
            suggesting.found(uids)

        records = RecordImport(
            store, connector, plan, changed=found, lost=intake.lose_records, listed=intake.withheld.found_records
        )
        self._comparison = Comparison(store, connector, intake, records, on_back=found, every_s=compare_interval)
        self._sync = Sync(store, connector, intake, records, noticed=self._noticed)
        self._answer_import = AnswerImport(store, connector, intake.read, about=found)
        self._links, self._answers = AnnotatorLinks(connector), AnswerCounts(store, connector)
        self._status = StatusReport(
            store,
            connector,
            leadership,
            loop,
            predictor=self._predictor,
            intake=intake,
            comparison=self._comparison,
            retrainer=self._retrainer,
            links=self._links,
            answers=self._answers,
            suggesting=suggesting,
        )
        self._cleanup = GenerationCleanup(store, connector, keep_generations, loop.latency.quiet_in)
        self._eraser = Eraser(store, connector.labeling, setup.encoder.images or ImageRules(), images)
        self._synced = self._stopped = False
        self._threads: dict[str, Repeater] = {
            name: Repeater(name, tick)
            for name, tick in (
                ("lease", self._heartbeat),
                ("intake", self._intake.tick),
                ("sync", self._pull),
                ("comparison", self._compare),
                ("loop", self._step),
                ("import", self._give_answers),
                ("suggesters", self._suggest),
                ("janitor", self._tidy),
                ("training", self._tune),
                ("pictures", self._look_at_pictures),
            )
        }

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, address: BackendAddress | None = None, on_failure: Callable[[], None] = lambda: None) -> None:
        """Start the threads. ``address``, where given, is hooked up on the platform as soon as it answers.

        When the service can't go on, ``failure`` says why, or it is ``outdated``, and ``on_failure`` is called, on a
        thread of its own.
        """
        self._hookup.address, self._on_failure = address, on_failure
        self._leadership.renew()
        self._predictor.start(may_write=self._leadership.held)
        for thread in self._threads.values():
            thread.start()

    def stop(self, within_s: float = 30.0) -> bool:
        """Let the work in progress end, hand the lease over, close everything; whether all has ended in time.

        Where it has not, nothing is closed beneath it, and the process should end. May be called twice.
        """
        if self._stopped:
            return True
        self._stopped = True
        deadline = time.monotonic() + within_s
        self._controller.begin_stop()
        self._comparison.stop()
        for name, thread in self._threads.items():
            if name != "lease":  # ours until the others have ended
                thread.begin_stop()
        self._retrainer.stop(grace_s=min(10.0, within_s / 3))
        stops: list[Callable[[float], bool]] = [
            *(thread.stop for thread in reversed(self._threads.values())),
            self._predictor.stop,
        ]
        ended = [stop(max(0.0, deadline - time.monotonic())) for stop in stops]
        self.give_up()
        if all(ended):
            self._connector.close()
            self._store.close()
        return all(ended)

    def give_up(self) -> None:
        """Hand the lease over: another process may lead at once. Where the store is gone, so is the lease."""
        try:
            self._leadership.give_up()
        except StoreError as error:
            log.warning("the lease can't be handed over", reason=str(error))

    def _heartbeat(self) -> float:
        if self.failure or self._lost_store() or self._lost_project():
            return BETWEEN_LOOKS
        tenure = self._leadership.tenure
        pause = self._leadership.renew()
        if self._leadership.tenure != tenure:
            if tenure:
                self._controller.look_again()
            for name in ("sync", "loop"):
                self._threads[name].wake()
        elif not self._leadership.held:
            self._predictor.follow(self._controller.space)
        return pause

    def _lost_project(self) -> bool:
        """Whether the store names another project than ours. Then this ends."""
        if not (reason := another_project(self._store, self._connector.project)):
            return False
        self._end(ConfigError(reason))
        return True

    def _lost_store(self) -> bool:
        """Whether the store's file is gone, or another. Then this ends: nothing that it writes would be kept."""
        if not (reason := self._store.lost()):
            return False
        self._end(StoreError(reason))
        return True

    def _end(self, error: NextlabelError) -> None:
        self.failure = error
        log.error("the service ends", reason=str(error))
        self.give_up()
        self._on_failure()

    def _pull(self) -> float:
        if not self._leadership.held:
            return 1.0
        take = self._sync.steps.take
        take("connection", self._hook_up)
        if self.failure:
            return BETWEEN_LOOKS
        busy = self._controller.latency.quiet_in()
        if busy and time.monotonic() - self._last_pull < LONGEST_DEFERRAL * self._poll_interval:
            return busy  # webhooks do arrive, and annotators wait for the platform: the look can wait too
        more = self._sync.pull()
        take("people and their queues", self._connector.look_after)
        take("links", self._links.refresh)
        take("names", self._answers.look)
        self._last_pull = self._status.polled_at = time.monotonic()
        if not self._synced and self._sync.is_ready:
            self._synced = True
            for name in ("loop", "comparison"):
                self._threads[name].wake()
        return 0.0 if more else self._poll_interval

    def _hook_up(self) -> None:
        try:
            unhooked = self._hookup.ensure()
        except ProjectTaken as error:
            self._end(error)
            return
        if unhooked:
            self._controller.look_again()  # what was removed may have taken the queue with it
            self._threads["loop"].wake()

    def _compare(self) -> float:
        return self._comparison.tick() if self._leadership.held and self._synced else 1.0

    def _want_records(self, remote_ids: Iterable[str] = ()) -> None:
        self._sync.want_records(remote_ids)
        self._threads["sync"].wake()

    def _want_deletions(self) -> None:
        self._sync.want_deletions()
        self._threads["sync"].wake()

    def _step(self) -> float:
        # The first queue is worth making only once we know what was labelled while we were away.
        return self._controller.tick() if self._synced or not self._leadership.held else 1.0

    def _give_answers(self) -> float:
        """Answers from elsewhere that wait: the platform gets them."""
        return self._answer_import.tick() if self._leadership.held and self._synced else BETWEEN_LOOKS

    def _suggest(self) -> float:
        """Suggesters are asked about the records: also before the platform's are known, since it may take a while."""
        if not self._leadership.held:
            return BETWEEN_LOOKS
        pause = self._suggesting.tick()
        if not pause:
            self._threads["loop"].wake()
        return pause

    def _tidy(self) -> float:
        if not self._leadership.held:
            return 5.0
        self._eraser.tick()
        return self._cleanup.tidy()

    def _tune(self) -> float:
        if not self._leadership.held:
            self._retrainer.stand_by()
            return 1.0
        # Only what the loop knows can be trained on: it has read the log before it is synced.
        return self._retrainer.tick() if self._synced else 1.0

    def _look_at_pictures(self) -> float:
        """Pictures that could not be read are asked for again."""
        if not (self._leadership.held and self._controller.ready):
            return BETWEEN_LOOKS
        pause = self._controller.records.look_at_pictures(lambda: self._stopped)
        self._threads["loop"].wake()
        return pause

    # -- what the HTTP edges ask -------------------------------------------------------------------------------------

    @property
    def project(self) -> ProjectRef:
        """The project on the platform."""
        return self._connector.project

    @property
    def links(self) -> dict[str, str]:
        """Annotator's name -> their own address, as of the last poll; empty where ``project.link`` is everybody's."""
        return self._links.current()

    @property
    @override
    def labeling(self) -> Labeling:
        return self._controller.pool.labeling

    @property
    @override
    def config(self) -> str:
        return self._connector.config

    @property
    @override
    def serving_version(self) -> str:
        generation = self._controller.generation or self._store.latest_generation()
        return generation.version if generation else "nextlabel"

    @override
    async def predict(self, records: Sequence[Record]) -> list[Suggestion | None]:
        return [None if one is None or one.problem else one.suggestion for one in await self.classify(records)]

    @override
    async def classify(self, records: Sequence[Record]) -> list[Prediction | None]:
        return await self._predictor.classify(records)

    @override
    def image(self, name: str) -> ImageCopy | None:
        return None if self._images is None else self._images.find(name)

    @override
    def parse_event(self, body: dict[str, Any]) -> Hint:
        return self._connector.parse_event(body)

    @override
    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return self._connector.authentic(headers, body)

    @override
    def notify(self, hint: Hint) -> bool:
        queued = self._intake.notify(hint)
        if hint.records_added:
            self._want_records()
        if hint.labeling_changed or not queued:
            self._last_pull = -math.inf  # the connector reads the labeling at the next poll
            self._threads["sync"].wake()
        if hint.train_requested:  # somebody pressed the platform's button: the answer goes to the log, not to them
            try:
                self.train()
            except NextlabelError as error:
                log.info("no training", reason=str(error))
        return queued

    def _log_grew(self, heard_at: float | None) -> None:
        self._controller.latency.arrived(self._store.head(), heard_at)
        self._threads["loop"].wake()

    @override
    def compare(self, *, believe: bool = False, keep: bool = False) -> int:
        self._want_leadership()
        if believe:
            self._intake.doubt_withheld(believe=True)
        elif keep:
            self._intake.withheld.keep()
        number = self._comparison.ask()
        self._threads["comparison"].wake()
        return number

    def _noticed(self, changes: Changes) -> None:
        """What a poll found besides answers."""
        if changes.gap:
            log.info("something may have been missed: log and platform are compared")
            self._comparison.ask()
            self._threads["comparison"].wake()
        if (asked := self._connector.labeling) != self._asked:  # the connector may have read it in a poll that failed
            self._compare_labels(asked)
            self._asked = asked

    def _compare_labels(self, asked: Labeling) -> None:
        """The queue is made anew. Where the project is to be followed and asks otherwise than we, so is the service."""
        self._threads["loop"].wake()
        apart = compare_labeling(self._store, asked, self.labeling, followed=self._follows_labels)
        if apart and self._follows_labels:
            self.outdated = True
            self._on_failure()

    @override
    def train(self) -> None:
        self._want_leadership()
        if not (self._synced and self._controller.ready):
            reason = f" ({errors[0]})" if (errors := [*self._errors.values()]) else ""
            raise Overloaded(f"the service has not read the answers since its start{reason}; ask again in a moment")
        self._retrainer.ask()
        self._threads["training"].wake()

    @override
    def cancel_training(self) -> bool:
        cancelled = self._retrainer.cancel()
        self._threads["training"].wake()
        return cancelled

    @override
    def ask_again(self, uids: Sequence[str], opinions: int | None = None) -> int:
        self._want_leadership()
        asked = self._controller.ask_again(uids, opinions)
        self._threads["loop"].wake()
        return asked

    def _want_leadership(self) -> None:
        if not self._leadership.held:
            raise Overloaded(f"this service stands by; ask the one that leads: {self._leadership.leader or 'nobody'}")

    @property
    def _errors(self) -> dict[str, str]:
        """What failed the last time, by the name of the thread, or of what it was doing -> why."""
        failed = {name: thread.error for name, thread in self._threads.items() if thread.error}
        if (waiting := self._store.waiting_s) > LONGEST_WAIT:
            failed["store"] = f"it has waited for {waiting:.0f} s to write: another process writes to it; stop that one"
        return failed | self._sync.steps.errors

    @override
    def versions(self) -> list[str]:
        return [row.version for row in self._store.models()]

    @override
    def status(self) -> Status:
        return self._status.take(str(self.failure or ""), self._errors)
