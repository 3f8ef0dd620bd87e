"""From one trained model to another: all records are encoded in a process of its own, then the loop moves at once.

Level-triggered: the store says which model was chosen, the loop knows in whose vectors it works. While they differ, a
process encodes what the chosen model has not encoded yet. Nothing waits for it: queue and predictions come from the
model in use until the loop has moved.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import structlog

from nextlabel.backend.models.registry import CHOSEN_SPACE
from nextlabel.backend.store import Store
from nextlabel.backend.training.jobs import EmbeddingJob
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.connectors.basics import batched
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import NextlabelError

from .candidates import Loop, TrainingSetup
from .embedding_space import OWN, EmbeddingSpace, EmbeddingSpaces

log = structlog.get_logger(__name__)

FEW = 64
"""Records that are not worth a process: the loop encodes them itself when it moves."""
BATCH = 4096
MOST_KILLS = 10
"""Times in a row that a process that was killed is started again at once: where memory is short it will be, always."""
RETRY_S = 60.0
"""Seconds until what failed is tried again: a full disk may have been cleared."""


class ModelSwitch:
    """Brings the loop to the model that was chosen. ``tick`` belongs to one thread, the rest may come from any."""

    def __init__(self, store: Store, loop: Loop, spaces: EmbeddingSpaces, setup: TrainingSetup, work: Path) -> None:
        self._store, self._loop, self._spaces, self._setup = store, loop, spaces, setup
        self._work = work
        self._target: str | None = None  # where it is going; None while the loop is where it should be
        self._kills = 0
        self._told = False  # the loop was told to move
        self._encoded = False  # a process has: what is missing still has a picture that can't be read
        self._process: TrainingProcess | None = None
        self._not_before = 0.0
        self._cancelled = False
        self._stopped = False
        self._lock = threading.Lock()
        self.error = ""

    @property
    def target(self) -> str | None:
        """The version that the loop is about to move to; None if it is where it should be."""
        return self._target

    @property
    def process(self) -> TrainingProcess | None:
        """The process that encodes the records; None if there is none."""
        return self._process

    def cancel(self) -> bool:
        """Stay with the model in use; whether the loop was about to leave it."""
        with self._lock:
            self._cancelled = self._target is not None and not self._told
            return self._cancelled

    def stop(self, grace_s: float = 10.0) -> None:
        """The service ends. What is encoded is kept, the rest goes on at the next start."""
        with self._lock:
            self._stopped = True
            self._end_process(grace_s)

    def tick(self) -> bool:
        """The next piece of work; whether it goes on. What fails is in ``error``, and tried again after RETRY_S."""
        in_use, chosen = self._loop.space.version, self._store.get_meta(CHOSEN_SPACE) or OWN
        if self._cancelled and chosen != in_use and not self._told:
            log.info("the move to another model was cancelled", model=chosen, stays=in_use)
            self._store.set_meta(CHOSEN_SPACE, in_use)
            if self._loop.model is not None:
                self._store.set_current(self._loop.model.version)
            chosen = in_use
        self._cancelled = False
        target = chosen if chosen != in_use else None  # arriving is one more way in which there is none any more
        if target != self._target:
            self._turn(target, in_use)
        if self._target is None or self._stopped:
            return False
        if self._told and (reason := self._loop.move_error):
            self._told = False
            self._failed(reason)
        if not self._told and time.monotonic() >= self._not_before:
            self._try(self._target)
        return time.monotonic() >= self._not_before

    def _turn(self, target: str | None, in_use: str) -> None:
        """Another target, or none any more: what was done for the one before is over, and its encoder let go."""
        with self._lock:
            self._end_process()
            self._target, self._told, self._not_before, self._kills, self.error = target, False, 0.0, 0, ""
            self._encoded = False
        shutil.rmtree(self._work, ignore_errors=True)
        self._spaces.forget(in_use, target or OWN)

    def stand_by(self) -> None:
        """Another replica leads: what is encoded is kept, and the rest is its business."""
        if self._target is not None:
            self._turn(None, self._loop.space.version)

    def _try(self, target: str) -> None:
        try:
            self._work_on(target)
        except NextlabelError as error:
            self._failed(str(error))
        except Exception as error:  # whatever the libraries under an encoder raise: trainings must not wait for it
            log.exception("a model can't be opened", model=target)
            self._failed(f"{type(error).__name__}: {error}")

    def _end_process(self, grace_s: float = 10.0) -> None:
        if self._process is not None:
            self._process.cancel(grace_s)
        self._process = None

    def _work_on(self, target: str) -> None:
        process = self._process
        if process is not None:
            state = process.poll()
            if state == "running":
                return
            if process.killed and self._kills < MOST_KILLS:
                self._kills += 1
                log.warning("the process that encodes was killed, another one goes on", reason=process.error)
            elif state == "failed":
                self._process = None
                self._failed(process.error)
                return
            self._process, self._encoded = None, state == "done"
        space = self._spaces(target)
        space.cache.refresh()  # what was written within the last second counts
        missing = sum(1 for _ in self._missing(space, most=FEW + 1))
        if missing > FEW and not self._encoded:
            self._start(target, space)
            return
        with self._lock:
            self._told = not self._cancelled
        if self._told:
            self.error = ""
            self._loop.move_to(space)

    def _failed(self, reason: str) -> None:
        self.error = f"the records can't be encoded for {self._target or self._setup.encoder.name}: {reason}"
        log.warning("records can't be encoded", model=self._target, reason=reason, again_in_s=RETRY_S)
        self._not_before, self._kills = time.monotonic() + RETRY_S, 0

    def _start(self, target: str, space: EmbeddingSpace) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        setup = self._setup
        job = EmbeddingJob(
            encoder=setup.of(target),
            embeddings=space.cache.folder.absolute(),
            spans=setup.question.reads_tokens,
            texts=self._missing(space),
        )
        log.info("encoding the records for another model", model=target or "the recipe's own encoder")
        with self._lock:
            if not self._stopped:
                self._process = TrainingProcess.start(self._work, job)

    def _missing(self, space: EmbeddingSpace, most: int | None = None) -> Iterator[Readable]:
        """Texts of the pool that are not in the cache of ``space``; no more than ``most``."""
        found = 0
        for batch in batched(self._store.records(), BATCH):
            texts = [self._setup.question.labeling.content(item.record) for item in batch]
            for at in np.flatnonzero(space.cache.lookup(texts) < 0).tolist():
                if most is not None and found >= most:
                    return
                found += 1
                yield texts[at]
