"""Leases: of several processes on one store, one holds a name, for as long as it goes on renewing it.

No lease runs out at some hour: the time of day is set back and forth, by people and by NTP, on one machine and not on
another, on the database's too. A renewal is a word, drawn anew each time, and a lease may be taken

- if it is free, or the taker's own;
- if the taker has watched one renewal stay the last for a whole term, by a clock of its own. Who renewed counts the
  same term from before the renewal was written, and so stopped believing in it earlier, wherever it runs;
- on SQLite also at once, if the term is over by the clock of the machine, its time since boot. Processes on one SQLite
  file share memory for its WAL, so they run on one kernel and read one clock. A row says which: one from before a
  reboot has to be watched, and so has one that claims to be of the future, which can't be true.

Times of day are noted beside that for people to read. Nothing is decided by them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from nextlabel.connectors.basics import elapsed

from . import codec
from .database import Database
from .meta import upsert
from .schema import leases

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/time")


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that only runs forward. Two readings may be compared if they are of clocks with the same ``name``.

    ``name`` is empty where nobody else is known to read the same clock.
    """

    name: str
    read: Callable[[], float]

    @classmethod
    def of_machine(cls) -> Clock:
        """The one of this machine, which all processes that run on the same kernel share, in containers too.

        Named by the boot, at which it begins anew, and the time namespace, which may shift it; both are the kernel's.
        """
        try:
            namespace = str(_NAMESPACE.readlink()) if _NAMESPACE.is_symlink() else ""
            return cls(f"{_BOOT.read_text().strip()} {namespace}".strip(), elapsed)
        except OSError:
            return cls("", elapsed)


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease, as of one look at it.

    ``renewal`` is the word of the last renewal. ``since`` is when the owner took it. ``left``, in seconds, is when it
    will be over unless it is renewed, as far as the database can tell; never more than ``term``.
    """

    owner: str
    renewal: str
    term: float
    since: datetime
    left: float

    @property
    def until(self) -> datetime:
        """When it is over unless it is renewed, by the time of day as this machine has it now."""
        return datetime.now(UTC) + timedelta(seconds=self.left)


class LeasesPart(Database):
    """Leases. ``clock`` is that of this machine; tests have their own."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        super().__init__(engine)
        self._clock = clock or Clock.of_machine()
        # On a server, machines that look alike may differ: a copy of a virtual machine keeps the id of its boot.
        self._shared = self._clock.name if engine.dialect.name == "sqlite" else ""

    def acquire(self, name: str, owner: str, term: float, *, unrenewed: str = "") -> Lease:
        """Take or renew the lease ``name`` for ``term`` seconds, unless somebody else holds it; return whose it is now.

        ``unrenewed`` is a renewal that the caller has watched for a whole term: if it is still the last, its lease is
        over. Atomic between threads and processes.
        """
        with self._read() as connection:  # who has to wait needs no turn to write
            if (other := self._of_another(connection, name, owner, unrenewed)) is not None:
                return other
        with self._write() as connection:
            if (other := self._of_another(connection, name, owner, unrenewed)) is not None:
                return other
            now, known = self._clock.read(), _find(connection, name)
            renewal, present = secrets.token_hex(8), _time_of_day(connection)
            taken_at = known.taken_at if known is not None and known.owner == owner else present
            row = {
                "name": name,
                "owner": owner,
                "renewal": renewal,
                "clock": self._shared,
                "renewed": now,
                "term": term,
                "taken_at": taken_at,
                "renewed_at": present,
            }
            upsert(connection, leases.c.name, row, replace=row)
            return Lease(owner, renewal, term, codec.from_micros(taken_at), term)

    def lease(self, name: str) -> Lease | None:
        """Whose the lease is; None if nobody has it. One that is over stays until somebody takes it."""
        with self._read() as connection:
            row = _find(connection, name)
            return None if row is None else self._lease(connection, row, self._clock.read())

    def release(self, name: str, owner: str) -> None:
        """Give the lease back, if ``owner`` has it."""
        with self._write() as connection:
            connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.owner == owner))

    def _of_another(self, connection: Connection, name: str, owner: str, unrenewed: str) -> Lease | None:
        """The lease, if it is somebody else's and not over."""
        row, now = _find(connection, name), self._clock.read()
        if row is None or row.owner == owner or row.renewal == unrenewed or self._is_over(row, now):
            return None
        return self._lease(connection, row, now)

    def _is_over(self, row: Row[Any], now: float) -> bool:
        return self._shares_clock(row) and row.renewed + row.term <= now

    def _shares_clock(self, row: Row[Any]) -> bool:
        return bool(self._shared) and row.clock == self._shared

    def _lease(self, connection: Connection, row: Row[Any], now: float) -> Lease:
        if self._shares_clock(row):
            left = row.renewed + row.term - now
        else:
            left = row.term - (_time_of_day(connection) - row.renewed_at) / 1e6
        return Lease(row.owner, row.renewal, row.term, codec.from_micros(row.taken_at), max(0.0, min(left, row.term)))


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()


def _time_of_day(connection: Connection) -> int:
    """The present for people, in microseconds since 1970: a server's own, so that all machines on it say the same."""
    if connection.dialect.name == "sqlite":
        return codec.now_micros()
    # Not now(), which stands still for a whole transaction, and this one may have waited for its turn.
    seconds = sa.extract("epoch", sa.func.clock_timestamp())
    return int(connection.execute(sa.select(seconds * 1_000_000)).scalar_one())
