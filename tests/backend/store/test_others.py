"""What others do to a store: write to it without end, delete it, give it in another form."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from nextlabel.backend.store import Store, database
from nextlabel.connectors.errors import StoreBusy, StoreError
from tests.waiting import wait_for


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Another process holds the right to write to ``store``."""
    if store._engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(store._engine.url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
    else:
        with sa.create_engine(store._engine.url, poolclass=sa.NullPool).begin() as other:
            other.exec_driver_sql(f"SELECT pg_advisory_xact_lock({database._ADVISORY_LOCK})")
            yield


def test_a_writer_that_does_not_end_is_told(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.0)
    monkeypatch.setattr(database, "_TIMEOUTS", ("SET lock_timeout = '1s'",))
    with Store.open(target) as store:
        with held(store):
            assert "another process is writing" in store.hindrance(0.2)
            with ThreadPoolExecutor() as threads:
                writing = threads.submit(store.set_meta, "a", "b")
                wait_for(lambda: store.waiting_s > 0.1)
                assert store.get_meta("a") is None, "reading goes on"
                with pytest.raises(StoreBusy, match="stop it or wait"):
                    writing.result()
        assert (store.hindrance(), store.waiting_s) == ("", 0.0)
        store.set_meta("a", "c")
        assert store.get_meta("a") == "c"


def test_a_store_that_is_deleted_or_replaced_is_lost(path: Path) -> None:
    with Store.open(path) as store:
        assert store.lost() == ""
        store.set_meta("a", "b")
        assert store.lost() == ""
        moved = path.rename(path.with_name("moved"))
        assert "was deleted while it was in use" in store.lost()
        path.write_bytes(moved.read_bytes())
        assert "is another file now" in store.lost()
        path.unlink()
        moved.rename(path)
        assert store.lost() == "", "it is back"


@contextmanager
def beside(address: str) -> Iterator[sa.Connection]:
    """A connection to the server of the database at ``address``, and to another database."""
    url = sa.make_url(address).set(database="first")
    with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        yield connection


@pytest.mark.live
@pytest.mark.parametrize("silent", [False, True], ids=["", "no other database may be asked"])
def test_a_database_that_is_dropped_or_made_anew_is_lost(postgresql: Callable[[], str], silent: bool) -> None:
    address = postgresql()
    name = sa.make_url(address).database
    with Store.open(address) as store, beside(address) as server:
        store.set_meta("a", "b")
        assert store.lost() == ""
        server.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.exec_driver_sql(f"ALTER DATABASE postgres ALLOW_CONNECTIONS {not silent}")
        try:
            assert "was deleted while it was in use" in store.lost()
        finally:
            server.exec_driver_sql("ALTER DATABASE postgres ALLOW_CONNECTIONS true")
        server.exec_driver_sql(f"CREATE DATABASE {name}")
        assert "was deleted while it was in use" in store.lost(), "there are no tables"
        Store.open(address).close()
        assert "is another database now" in store.lost()


@pytest.mark.live
def test_a_server_that_refuses_for_now_has_lost_nothing(postgresql: Callable[[], str]) -> None:
    address = postgresql()
    name = sa.make_url(address).database
    with Store.open(address) as store, beside(address) as server:
        server.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert store.lost() == ""
        server.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert store.lost() == ""


@pytest.mark.live
@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_an_address_as_hosts_of_databases_write_it(postgresql: Callable[[], str], scheme: str) -> None:
    with Store.open(postgresql().replace("postgresql+psycopg", scheme)) as store:
        store.set_meta("a", "b")
        assert store.get_meta("a") == "b"


def test_an_address_that_is_none() -> None:
    with pytest.raises(StoreError, match="can't be read: postgresql://USER"):
        Store.open("://nothing")


@pytest.mark.live
def test_a_database_in_another_encoding_is_refused(postgresql: Callable[[], str]) -> None:
    url = sa.make_url(postgresql())
    with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        made = "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.exec_driver_sql(made)
    with pytest.raises(StoreError, match=r"encoded as LATIN1.*ENCODING 'UTF8'"):
        Store.open(url.set(database="latin").render_as_string(hide_password=False))
