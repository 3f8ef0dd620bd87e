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
from nextlabel.connectors.errors import StoreBusy, StoreError, StoreFull, StoreTooNew

from .migrations import HEAD, REVISIONS, VERSION_TABLE

CHUNK = 1_000
"""Rows a page when reading, and values an IN list: far below every database's limit on variables."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another process's transaction."""
STATEMENT_SECONDS = 600.0
"""How long a statement may take on a server: what it waits for may never come."""
_DRIVER = "postgresql+psycopg"

_T = TypeVar("_T")
_WRITES = "nextlabel_writes"
_ADVISORY_LOCK = 0x6E6C_7374  # "nlst"
_FIRST = {
    # IMMEDIATE: two transactions that read first and write later would refuse each other.
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": (f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})",),
}
"""What gives a transaction the right to write."""
_READING: dict[str, tuple[str, ...]] = {"sqlite": ("BEGIN",), "postgresql": ()}
_TIMEOUTS = (
    f"SET lock_timeout = '{BUSY_SECONDS:.0f}s'",
    f"SET statement_timeout = '{STATEMENT_SECONDS:.0f}s'",
)
_TOO_LATE_POSTGRESQL = ("55P03", "57014")
_OIDS = sa.text(
    "SELECT oid::bigint, to_regclass(:table)::oid::bigint FROM pg_database WHERE datname = current_database()"
)
_NAMED = sa.text("SELECT oid FROM pg_database WHERE datname = :name")
_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",  # a full /tmp must not stop the store
    "PRAGMA cache_size = -16000",  # KiB
    "PRAGMA secure_delete = ON",  # what is erased is overwritten
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
        self._waiting_since: float | None = None  # for other processes to end what they write
        self._identity = _identity(engine)

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
        with self._turn:
            self._waiting_since = time.monotonic()
            try:
                with writing(self._engine) as connection:
                    self._waiting_since = None
                    yield connection
            finally:
                self._waiting_since = None

    @property
    def waiting_s(self) -> float:
        """How long a writer of this process has waited for other processes; 0 if none does."""
        since = self._waiting_since
        return 0.0 if since is None else time.monotonic() - since

    def lost(self) -> str:
        """Why this is the store no more that was opened: its file, or database, was deleted or replaced; "" if it is.

        "" also where a server does not answer, of whose database nobody can say.
        """
        sqlite = self._engine.dialect.name == "sqlite"
        try:
            found = _identity(self._engine)
        except SQLAlchemyError as error:
            if not _is_dropped(self._engine, str(error)):
                return ""
            found = None
        if found == self._identity:
            return ""
        what = "was deleted" if found is None else f"is another {'file' if sqlite else 'database'} now"
        return (
            f"{describe(self._engine)} {what} while it was in use, and what is written goes nowhere: start again; the "
            "answers are taken in from the platform again"
        )

    def hindrance(self, within_s: float = 2.0) -> str:
        """Why nothing can be written now, tried for so many seconds; "" if something can. Changes nothing.

        Raises StoreError if there is no connection.
        """
        self._check_open()
        with translated(self._engine):
            raw = self._engine.raw_connection()
        sqlite = self._engine.dialect.name == "sqlite"
        wait = f"PRAGMA busy_timeout = {1000 * within_s:.0f}" if sqlite else f"SET LOCAL lock_timeout = '{within_s}s'"
        try:
            cursor = raw.cursor()
            for statement in (wait, *_FIRST[self._engine.dialect.name]):
                cursor.execute(statement)
            raw.rollback()
        except self._engine.dialect.loaded_dbapi.Error as error:
            return str(_translate(self._engine, error))
        finally:
            raw.invalidate()  # its time-out is no other's
        return ""

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
            _check_encoding(engine)
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _identity(engine: Engine) -> tuple[int, int] | None:
    """What tells an SQLite file, or a database with its tables, from another that takes its place; None without one."""
    if engine.dialect.name != "sqlite":
        with engine.connect() as connection:
            database, table = connection.execute(_OIDS, {"table": VERSION_TABLE}).one()
        return None if table is None else (database, table)
    try:
        found = Path(str(engine.url.database)).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_dropped(engine: Engine, refusal: str) -> bool:
    """Whether the server at which nobody can connect to our database, for a reason in its own language, has it no more.

    Asked of the database that every server has, where we may.
    """
    name = engine.url.database
    other = sa.create_engine(engine.url.set(database="postgres"), poolclass=sa.NullPool)
    try:
        with other.connect() as connection:
            return connection.execute(_NAMED, {"name": name}).one_or_none() is None
    except SQLAlchemyError:
        return f'database "{name}" does not exist' in refusal


def _to_url(target: str | Path) -> URL:
    text = str(target)
    try:
        url = sa.make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except SQLAlchemyError:
        raise StoreError("the store's address can't be read: postgresql://USER:PASSWORD@HOST/DATABASE") from None
    if url.drivername in ("postgres", "postgresql"):  # as hosts of databases write it, and with the driver that we have
        url = url.set(drivername=_DRIVER)
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
    event.listen(engine, "connect", _prepare_sqlite if sqlite else _prepare_postgresql)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin too late: we say BEGIN ourselves
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _prepare_postgresql(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        for statement in _TIMEOUTS:
            cursor.execute(statement)
    connection.commit()


def _check_encoding(engine: Engine) -> None:
    """Raises StoreError if the database can't hold every text."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"the database {describe(engine)} is encoded as {encoding}, which has no room for many texts; make one "
            "with: CREATE DATABASE nextlabel ENCODING 'UTF8' TEMPLATE template0"
        )


def _begin(connection: Connection) -> None:
    name = connection.dialect.name
    writes = connection.get_execution_options().get(_WRITES, False)
    for statement in _FIRST[name] if writes else _READING[name]:
        connection.exec_driver_sql(statement)


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
    late = getattr(cause, "sqlstate", None) in _TOO_LATE_POSTGRESQL
    if late or primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"another process is writing to {where} and does not end; stop it or wait")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"{where} is damaged or no nextlabel store ({cause}); move it away and restore a backup, or start with "
            "an empty store: every answer is taken in from the platform again"
        )
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
