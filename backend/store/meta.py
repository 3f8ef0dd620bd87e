"""Small things with a name: settings of the store, cursors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from .database import Database
from .schema import cursors, meta


def upsert(
    connection: Connection, key: sa.Column[str], row: Mapping[str, Any], replace: Mapping[str, Any] | None = None
) -> None:
    """Insert ``row``; where there is one with its ``key``, ``replace`` these values in it, or leave it alone."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(key.table).values(**row)
    if replace:
        connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=dict(replace)))
    else:
        connection.execute(statement.on_conflict_do_nothing())


def put(connection: Connection, table: Table, key: str, value: str, *, keep: bool = False) -> None:
    """Write one row of a two-column table; ``keep`` leaves an existing value alone."""
    name, content = table.columns
    row = {name.name: key, content.name: value}
    upsert(connection, name, row, None if keep else {content.name: value})


def look_up(connection: Connection, table: Table, key: str) -> str | None:
    """Read one row of a two-column table."""
    name, content = table.columns
    found: str | None = connection.execute(sa.select(content).where(name == key)).scalar()
    return found


class MetaPart(Database):
    """Settings and cursors."""

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

    def claim_meta(self, values: Mapping[str, str]) -> dict[str, str]:
        """Keep those of ``values`` whose key has none yet, all at once; return what is in force."""
        with self._write() as connection:
            for key, value in values.items():
                put(connection, meta, key, value, keep=True)
            return {key: look_up(connection, meta, key) or "" for key in values}
