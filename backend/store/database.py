"""The connection: engine, transactions, migrations at opening, and the one place where a database's errors become ours.

No table is named here but the schema's version. SQLite runs in WAL mode: readers never wait, writers take turns.
``synchronous=NORMAL`` survives a killed process; after a power cut the last transactions may be missing, cursor
included, so the next poll takes them in again. On PostgreSQL an advisory lock gives the same single writer, so log
numbers appear in order.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from nextlabel.connectors.basics import batched
from nextlabel.connectors.errors import StoreError, StoreFull, StoreTooNew

from .migrations import HEAD, REVISIONS, VERSION_TABLE

CHUNK = 1_000
"""Rows a page when reading, and values an IN list: far below every database's limit on variables."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another process's transaction."""

_T = TypeVar("_T")
_WRITES = "nextlabel_writes"
_ADVISORY_LOCK = 0x6E6C_7374  # "nlst"
_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",  # a full /tmp must not stop the store
    "PRAGMA cache_size = -16000",  # KiB
)
_FULL_POSTGRESQL = ("53100", "53400")
_NEARLY_NOTHING = 1 << 20  # bytes: below this, a failed write is a full disk whatever the system calls it


def chunks(items: Iterable[_T]) -> Iterator[tuple[_T, ...]]:
    """``items`` in tuples of CHUNK."""
    return batched(items, CHUNK)


class Database:
    """Transactions on a migrated store. Thread-safe; every error that leaves is a StoreError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._closed = False

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A snapshot. Short: a long one keeps the WAL from shrinking."""
        self._check_open()
        with translated(self._engine), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction, the only one that writes anywhere. Commits at the end, or changes nothing."""
        self._check_open()
        # Threads hand over at once through the lock; SQLite's own waiting, between processes, polls.
        with self._turn, writing(self._engine) as connection:
            yield connection

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {describe(self._engine)} is closed")

    def close(self) -> None:
        """Close every connection. Repeating it does nothing; any other call afterwards is a StoreError."""
        self._closed = True
        self._engine.dispose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({describe(self._engine)})"


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the right to write from its first moment on."""
    with translated(engine), engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def open_engine(target: str | Path) -> Engine:
    """An engine on the store at ``target``, created if missing and migrated to the newest schema.

    ``target`` is the path of an SQLite file or an SQLAlchemy URL. Raises StoreTooNew if a newer nextlabel was
    there, StoreError if it is no store or can't be opened.
    """
    engine = _create_engine(_to_url(target))
    try:
        with translated(engine):
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _to_url(target: str | Path) -> URL:
    text = str(target)
    url = sa.make_url(text) if "://" in text else URL.create("sqlite", database=text)
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"the store can be a file (SQLite) or PostgreSQL, not {url.get_backend_name()}")
    if url.get_backend_name() == "sqlite":
        if not url.database or ":memory:" in url.database:
            raise StoreError("the store must be a file, or it would lose everything at exit; give it a path")
        path = Path(url.database).expanduser().absolute()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"can't create the folder {path.parent} for the store: {error.strerror}") from error
        url = url.set(database=str(path))
    return url


def _create_engine(url: URL) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    try:
        # hide_parameters: texts and answers do not belong into error messages.
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            connect_args={"timeout": BUSY_SECONDS} if sqlite else {},
            pool_pre_ping=not sqlite,
        )
    except ModuleNotFoundError as error:
        raise StoreError(f"{error.name} is not installed; run: pip install {error.name}") from error
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin too late: we say BEGIN ourselves
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    if connection.dialect.name == "sqlite":
        # IMMEDIATE: two transactions that read first and write later would refuse each other.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    if engine.dialect.name == "sqlite":
        _switch_to_wal(engine)
    with writing(engine) as connection:
        if _revision(connection) != HEAD:  # somebody else may have been faster
            upgrade(connection)


def _revision(connection: Connection) -> str | None:
    """The schema's revision, None for an empty database. Raises StoreTooNew, or StoreError for a foreign one."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(VERSION_TABLE):
        if connection.dialect.name == "sqlite" and inspector.get_table_names():
            raise StoreError(
                f"{describe(connection.engine)} is another program's database; give the store its own file"
            )
        return None
    found = connection.execute(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE))).scalar()
    if found is not None and found not in REVISIONS:
        raise StoreTooNew(
            f"{describe(connection.engine)} was written by a newer nextlabel (schema {found}, this one knows {HEAD}); "
            "run: pip install --upgrade nextlabel"
        )
    return found


def _switch_to_wal(engine: Engine) -> None:
    """Once a file, for ever. SQLite doesn't wait for its turn in this one statement, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    raw = engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except engine.dialect.loaded_dbapi.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise sa.exc.OperationalError("PRAGMA journal_mode", None, error) from error
                time.sleep(0.01)
    finally:
        raw.close()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to ``revision`` in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, revision)


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
    code = getattr(cause, "sqlite_errorcode", 0)
    if getattr(cause, "sqlstate", None) in _FULL_POSTGRESQL or _is_full(code, where):
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
