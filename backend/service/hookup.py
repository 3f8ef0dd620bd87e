"""The platform's way to this service: hooked up by whoever leads, and again where somebody unhooked it."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.loop.news import tell_of_repair
from nextlabel.backend.store import Store
from nextlabel.connectors.base import BackendAddress, Connector

from .traces import tell_first_changes

log = structlog.get_logger(__name__)

REPAIR_EVERY = 30.0
"""Seconds between two looks at whether the platform still knows this service."""


class Hookup:
    """Belongs to one thread. Without an ``address`` nothing is hooked up. ``owner``: the recipe that is worked on."""

    def __init__(self, store: Store, connector: Connector, leadership: Leadership, owner: str) -> None:
        self._store, self._connector, self._leadership, self._owner = store, connector, leadership, owner
        self.address: BackendAddress | None = None
        self._tenure = 0  # in which the address was hooked up
        self._next_look = 0.0

    def ensure(self) -> bool:
        """Hook the address up, once in each tenure and where it is not any more; whether it was found to be removed.

        Raises ProjectTaken if the project is another recipe's; ConnectorError.
        """
        if self.address is None or (self._tenure == self._leadership.tenure and time.monotonic() < self._next_look):
            return False
        gone: tuple[str, ...] = ()
        address = replace(self.address, owner=self._owner)
        if self._tenure == (tenure := self._leadership.tenure):
            gone = self._connector.repair(address)
        else:
            tell_first_changes(self._store, self._connector)
            self._connector.connect(address)  # who led before us hooked up their own
            self._tenure = tenure
        self._next_look = time.monotonic() + REPAIR_EVERY
        if gone:
            log.warning("the service was unhooked from the platform, and is hooked up again", gone=gone)
            tell_of_repair(self._store, gone)
        return bool(gone)
