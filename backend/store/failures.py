"""The one place where a database's errors become ours."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from nextlabel.connectors.errors import StoreError, StoreFull

BUSY_SECONDS = 30.0
"""How long a writer waits for another process's transaction."""

_FULL_POSTGRESQL = ("53100", "53400")
_NEARLY_NOTHING = 1 << 20  # bytes: below this, a failed write is a full disk whatever the system calls it


def describe(engine: Engine) -> str:
    """The store's address without its password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn what SQLAlchemy raises inside the block into StoreError and its children."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(engine, error.orig or error) from error
    except SQLAlchemyError as error:
        raise StoreError(f"store {describe(engine)}: {error}") from error
    except UnicodeEncodeError as error:
        raise StoreError(f"an id holds characters that no database stores ({error.reason}); change the id") from error


def _translate(engine: Engine, cause: BaseException) -> StoreError:
    where = describe(engine)
    if getattr(cause, "sqlstate", None) in _FULL_POSTGRESQL:
        return StoreFull(f"the disk under {where} is full; free some space, then go on: nothing was half-written")
    if not isinstance(cause, sqlite3.Error):
        return StoreError(f"store {where}: {cause}")
    code = getattr(cause, "sqlite_errorcode", 0)
    if _is_full(code, where):
        return StoreFull(f"the disk under {where} is full; free some space, then go on: nothing was half-written")
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"{where} is damaged or no nextlabel store ({cause}); move it away and restore a backup, or start with "
            "an empty store: every answer is taken in from the platform again"
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"another process has been writing to {where} for {BUSY_SECONDS:.0f} s; stop it or wait")
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StoreError(f"{where} can't be opened for writing ({cause}); check the path and its permissions")
    return StoreError(f"store {where}: {cause}")


def _is_full(code: int, where: str) -> bool:
    if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return True
    if code & 0xFF != sqlite3.SQLITE_IOERR:
        return False
    try:
        return shutil.disk_usage(Path(where).parent).free < _NEARLY_NOTHING
    except OSError:
        return False
