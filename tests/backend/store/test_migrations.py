"""The schema's history: from nothing to what schema.py says, and never backwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from nextlabel.backend.store import Store, database, migrations, schema
from nextlabel.backend.store.database import open_engine
from nextlabel.connectors.errors import StoreError, StoreTooNew

Spawn = Callable[..., "subprocess.Popen[str]"]


def test_migrating_from_nothing_gives_the_tables_of_the_schema(path: Path) -> None:
    engine = open_engine(path)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"version_table": migrations.VERSION_TABLE, "compare_type": True}
            )
            assert compare_metadata(context, schema.metadata) == []
            inspector = sa.inspect(connection)
            assert [c["name"] for c in inspector.get_columns("current_answers")] == list(
                schema.current_answers.c.keys()
            )
            assert _partial_indexes(connection) == _partial_indexes_of_the_schema()
    finally:
        engine.dispose()


def _partial_indexes(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(
        sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'")
    )
    return {name: sql.split(" WHERE ")[1] for name, sql in rows}


def _partial_indexes_of_the_schema() -> dict[str, str]:
    """Alembic compares no WHERE of an index: a query would then silently scan the table."""
    engine = sa.create_engine("sqlite://")
    schema.metadata.create_all(engine)
    with engine.connect() as connection:
        found = _partial_indexes(connection)
    engine.dispose()
    assert len(found) == 5
    return found


def test_the_list_of_revisions_is_what_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migrations.REVISIONS


def test_opening_an_existing_store_does_not_load_alembic(path: Path) -> None:
    Store.open(path).close()
    source = """
import sys
from nextlabel.backend.store import Store
Store.open(sys.argv[1]).close()
print([name for name in sys.modules if name.startswith("alembic") and not name.startswith("alembic.runtime")])
"""
    done = subprocess.run([sys.executable, "-c", source, str(path)], capture_output=True, text=True, check=True)
    assert "alembic.command" not in done.stdout


def test_a_store_written_by_a_newer_nextlabel_is_left_alone(path: Path) -> None:
    Store.open(path).close()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreTooNew, match=r"schema 9999.*pip install --upgrade nextlabel"):
        Store.open(path)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE task (id INTEGER)"))
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        Store.open(path)
    assert path.read_bytes() == before


OPENER = """
import sys
from nextlabel.backend.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(sys.argv[1]) as store:
    print(store.instance, flush=True)
"""


def test_processes_that_create_the_same_store_at_once_agree(target: str, spawn: Spawn) -> None:
    openers = [spawn(OPENER, target) for _ in range(4)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    outputs = []
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
    for opener in openers:
        outputs.append(opener.communicate(timeout=60)[0].strip())
    assert len(outputs[0]) == 6
    assert len(set(outputs)) == 1


def test_processes_that_migrate_the_same_store_at_once_do_it_once(
    target: str, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as past:
        past.setattr(database, "upgrade", partial(database.upgrade, revision="0001"))
        open_engine(target).dispose()
    openers = [spawn(OPENER, target) for _ in range(4)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
    assert len({opener.communicate(timeout=60)[0].strip() for opener in openers}) == 1
    assert {opener.returncode for opener in openers} == {0}


def test_a_store_of_the_first_schema_keeps_its_records(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as past:
        past.setattr(database, "upgrade", partial(database.upgrade, revision="0001"))
        engine = open_engine(path)
        assert "opinions" not in {column["name"] for column in sa.inspect(engine).get_columns("records")}
        row = ("0", "u0", "hash", '{"text": "old"}', "{}", "0.5", "r0")
        with engine.begin() as connection:
            names = "position, uid, content_hash, fields, metadata, lot, remote_id"
            connection.exec_driver_sql(f"INSERT INTO records ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        engine.dispose()
    with Store.open(path) as store:
        (item,) = store.records()
    assert (item.record.uid, item.remote_id, item.opinions, item.suggested) == ("u0", "r0", 0, False)
