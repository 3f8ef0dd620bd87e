"""Of several backends on one store, one runs the loop; the others answer requests and stand by. And its threads."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from nextlabel.backend.store import Lease, Store
from nextlabel.connectors.basics import elapsed
from nextlabel.connectors.errors import StoreError

from .steps import in_words

log = structlog.get_logger(__name__)

LEASE = "loop"
TERM = 14.0
"""Seconds after which a leader that stopped renewing may be replaced: with the next look, within 15."""
RENEW_EVERY = 4.0
LOOK_EVERY = 1.0
"""Seconds between two looks of who stands by. A renewal is known to be as old as the look that first saw it."""
LONGEST_PAUSE = 30.0
"""Seconds. After repeated failures the pauses double up to this."""


def facts(lease: Lease | None) -> dict[str, Any]:
    """Who leads, since when, until when unless the lease is renewed, and seconds until then; empty if nobody does."""
    if lease is None:
        return {}
    since, until = (moment.isoformat(timespec="seconds") for moment in (lease.since, lease.until))
    return {"owner": lease.owner, "since": since, "until": until, "left_s": round(lease.left, 1)}


class Leadership:
    """A lease in the store, renewed on a timer. Believed only as long as it is certain.

    One thread renews; any may ask. ``tenure`` counts how often this process came to lead.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = elapsed) -> None:
        self._store = store
        self._clock = clock
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.tenure = 0
        self._held_until = -math.inf
        self._watched: tuple[Lease, float] | None = None  # somebody else's last renewal, and since when we know it

    @property
    def held(self) -> bool:
        """True while nobody else can have taken our lease, even if renewing fails from now on."""
        return self._clock() < self._held_until

    @property
    def leader(self) -> str:
        """Who led at the last look, if it was somebody else."""
        return self._watched[0].owner if self._watched else ""

    def facts(self) -> dict[str, Any]:
        """Who leads now, as :func:`facts` says it, and whether it is this process."""
        lease = self._store.lease(LEASE)
        return {} if lease is None else facts(lease) | {"ours": lease.owner == self.owner}

    def renew(self) -> float:
        """Take or renew the lease; return seconds until the next try."""
        asked, was_held = self._clock(), self.held
        lease = self._store.acquire(LEASE, self.owner, TERM, unrenewed=self._unrenewed(asked))
        if lease.owner == self.owner:
            self._watched = None
            self._held_until = asked + TERM  # of the moment before it was written: ours ends before anybody's watch
            if not was_held:
                self.tenure += 1
                log.info("this process leads", owner=self.owner)
            return RENEW_EVERY
        self._held_until = -math.inf
        if was_held or self.leader != lease.owner:
            log.info("another process leads, this one stands by", leader=lease.owner, owner=self.owner)
        self._watch(lease)
        return LOOK_EVERY

    def _unrenewed(self, now: float) -> str:
        """The renewal that stayed the last for a whole term."""
        if self._watched is None:
            return ""
        lease, since = self._watched
        return lease.renewal if now - since >= lease.term else ""

    def _watch(self, lease: Lease) -> None:
        """Remember somebody's renewal, and since when we know it."""
        if self._watched is None or self._watched[0].renewal != lease.renewal:
            self._watched = (lease, self._clock())  # after the look: the renewal is older than that

    def give_up(self) -> None:
        """Release the lease, so that a replica standing by takes over at once."""
        self._held_until = -math.inf
        self._store.release(LEASE, self.owner)

    @contextmanager
    def kept(self, *, patient: bool = False) -> Iterator[bool]:
        """Lead while the block runs, if nobody else does: whether we do. A lease that is held already stays held.

        ``patient``: wait for a leader that does not renew its lease any more. That takes a term at most.
        """
        was_held = self.held
        if not was_held:
            self._wait() if patient else self.renew()
        if was_held or not self.held:
            yield was_held
            return
        keeper = Repeater("lease", self.renew)
        keeper.start()
        try:
            yield True
        finally:
            keeper.stop()
            with suppress(StoreError):  # what ended the block says more, and the lease runs out by itself
                self.give_up()

    def _wait(self) -> None:
        """Lead, or see that somebody else is alive."""
        self.renew()
        first = self._watched
        while not self.held and self._watched == first:
            time.sleep(LOOK_EVERY)
            self.renew()


class Repeater:
    """A thread that calls ``tick`` until stopped, and survives every failure of it.

    ``tick`` returns how many seconds it may sleep; ``wake`` cuts the sleep short. A failure stands in ``error`` (""
    once it is over) and is tried again after 0.5, 1, 2, ... 30 s: what ``tick`` does has to be level-triggered, so that
    trying again is all the recovery there is.
    """

    def __init__(self, name: str, tick: Callable[[], float]) -> None:
        self.error = ""
        self._name = name
        self._tick = tick
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"nextlabel-{name}", daemon=True)

    def start(self) -> None:
        """Begin. A repeater is started once."""
        self._thread.start()

    def wake(self) -> None:
        """Run the next tick now."""
        self._wake.set()

    def begin_stop(self) -> None:
        """No tick begins any more; the one in progress goes on."""
        self._stop.set()
        self._wake.set()

    def stop(self, timeout: float = 30.0) -> bool:
        """Let the tick in progress end, then return; whether it has. Safe to call twice, and before start."""
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether stop was called: long work inside a tick looks at it between its steps."""
        return self._stop.is_set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()  # before the tick: what arrives during it makes the next one run at once
            pause = self._once()
            if pause > 0:
                self._wake.wait(pause)

    def _once(self) -> float:
        try:
            pause = self._tick()
        except Exception as error:
            if self.stopping:
                log.info("left to the next start", thread=self._name, reason=str(error))
                return 0.0
            return self._failed(in_words(error, self._name))
        self._failures, self.error = 0, ""
        return pause

    def _failed(self, message: str) -> float:
        pause = min(LONGEST_PAUSE, 0.5 * 2**self._failures)
        self._failures += 1
        self.error = message
        # A wake-up is no reason to hammer a platform that is down: sleep the pause whole, unless told to stop.
        self._stop.wait(pause)
        return 0.0
