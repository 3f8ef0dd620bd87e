"""Of several backends on one store, one runs the loop; the others answer requests and stand by."""

from __future__ import annotations

import os
import socket
import time
import uuid

import structlog

from nextlabel.backend.store import Store

log = structlog.get_logger(__name__)

LEASE = "loop"
TTL = 15.0
"""Seconds after which a leader that stopped renewing may be replaced."""
RENEW_EVERY = 4.0


class Leadership:
    """A lease row in the store, renewed on a timer. Believed only as long as it is certain."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._held_until = 0.0

    @property
    def held(self) -> bool:
        """True while our lease can't have expired, by our own clock, even if renewing fails from now on."""
        return time.monotonic() < self._held_until

    def renew(self) -> float:
        """Take or renew the lease; return seconds until the next try."""
        asked = time.monotonic()
        was_held = self.held
        if self._store.acquire(LEASE, self.owner, TTL):
            self._held_until = asked + TTL
            if not was_held:
                log.info("this process runs the loop", owner=self.owner)
        else:
            self._held_until = 0.0
        return RENEW_EVERY

    def give_up(self) -> None:
        """Release the lease, so that a replica standing by takes over at once."""
        self._held_until = 0.0
        self._store.release(LEASE, self.owner)
