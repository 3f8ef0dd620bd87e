"""Small things with a name: settings of the store, cursors, leases."""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from .database import Database
from .schema import cursors, leases, meta


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, for the database at hand."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def put(connection: Connection, table: Table, key: str, value: str, *, keep: bool = False) -> None:
    """Write one row of a two-column table; ``keep`` leaves an existing value alone."""
    name, content = table.columns
    statement = insert(connection, table).values({name: key, content: value})
    if keep:
        connection.execute(statement.on_conflict_do_nothing())
    else:
        connection.execute(statement.on_conflict_do_update(index_elements=[name], set_={content: value}))


def look_up(connection: Connection, table: Table, key: str) -> str | None:
    """Read one row of a two-column table."""
    name, content = table.columns
    found: str | None = connection.execute(sa.select(content).where(name == key)).scalar()
    return found


class MetaPart(Database):
    """Settings, cursors and leases."""

    def get_meta(self, key: str) -> str | None:
        """The value under ``key``, or None."""
        with self._read() as connection:
            return look_up(connection, meta, key)

    def set_meta(self, key: str, value: str) -> None:
        """Keep ``value`` under ``key``, in place of what was there."""
        with self._write() as connection:
            put(connection, meta, key, value)

    def get_cursor(self, name: str) -> str | None:
        """Where the next poll called ``name`` starts, or None for the beginning."""
        with self._read() as connection:
            return look_up(connection, cursors, name)

    def set_cursor(self, name: str, value: str) -> None:
        """Move a cursor. Only after what lies before it was appended."""
        with self._write() as connection:
            put(connection, cursors, name, value)

    def acquire(self, name: str, owner: str, ttl_s: float, now: float | None = None) -> bool:
        """Take or renew the lease ``name`` for ``ttl_s`` seconds; False while somebody else holds it.

        Atomic between threads and processes. An expired lease is anybody's. ``now``, in seconds since 1970,
        moves the clock in tests.
        """
        now = time.time() if now is None else now
        row = {"name": name, "owner": owner, "expires_at": now + ttl_s}
        with self._write() as connection:
            statement = insert(connection, leases).values(row)
            statement = statement.on_conflict_do_update(
                index_elements=[leases.c.name],
                set_={"owner": owner, "expires_at": now + ttl_s},
                where=sa.or_(leases.c.owner == owner, leases.c.expires_at <= now),
            )
            # An INSERT's row count has to be asked for, or PostgreSQL's is thrown away.
            return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1

    def release(self, name: str, owner: str) -> None:
        """Give the lease back, if ``owner`` has it."""
        with self._write() as connection:
            connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.owner == owner))
