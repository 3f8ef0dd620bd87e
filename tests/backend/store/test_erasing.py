"""What was deleted on the platform is erased: no byte of it stays in the store's files."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Record

TEXT = "Madame Exemple no {} asked to be erased"


def known_by(record: Record) -> list[bytes]:
    return [record.uid.encode()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store.sqlite")
    store.add_records(Record(f"r{n}", {"text": TEXT.format(n)}, {"from": f"person{n}@example"}) for n in range(40))
    store.set_remote({f"r{n}": str(n) for n in range(40)})
    return store


def holds(folder: Path, text: str) -> list[str]:
    return [path.name for path in folder.iterdir() if text.encode() in path.read_bytes()]


def test_what_is_gone_is_erased_from_every_file(store: Store, tmp_path: Path) -> None:
    assert holds(tmp_path, TEXT.format(7))
    store.mark_gone(["7", "8"])
    assert sorted(store.erase_gone(known_by)) == ["r7", "r8"]
    assert store.flush_erased()
    for n in (7, 8):
        assert holds(tmp_path, f"Exemple no {n} ") == holds(tmp_path, f"person{n}@") == []
    assert [item.record.fields for item in store.get(["r7", "r9"])] == [{}, {"text": TEXT.format(9)}]
    assert store.erase_gone(known_by) == []
    assert sorted(store.erased_digests()) == [b"r7", b"r8"]
    store.note_removed([b"r7"])
    assert store.erased_digests() == [b"r8"]
    store.close()
    assert holds(tmp_path, "Exemple no 7 ") == []


def test_what_has_just_gone_may_come_back(store: Store) -> None:
    store.mark_gone(["7"])
    assert store.erase_gone(known_by, datetime.now(UTC) - timedelta(hours=1)) == []
    assert store.erase_gone(known_by, datetime.now(UTC) + timedelta(hours=1)) == ["r7"]
    store.close()


def test_a_copy_that_only_the_data_has_goes_with_it(store: Store) -> None:
    store.add_records([Record("copy", {"text": TEXT.format(7)})])
    store.mark_gone(["7"])
    assert sorted(store.erase_gone(known_by)) == ["copy", "r7"]
    store.close()


def test_the_same_row_is_not_taken_for_a_new_one(store: Store) -> None:
    store.mark_gone(["7"])
    store.erase_gone(known_by)
    assert store.add_records([Record("r7", {"text": TEXT.format(7)})]).known == 1
    assert store.unpushed(10) == []
    store.close()


def test_records_that_were_never_pushed_are_erased_and_not_pushed(store: Store, tmp_path: Path) -> None:
    store.add_records([Record("new", {"text": "somebody else"})])
    assert store.erase(["new"], known_by) == ["new"]
    assert store.unpushed(10) == []
    assert store.flush_erased()
    assert holds(tmp_path, "somebody else") == []
    store.close()


def test_while_somebody_reads_it_is_tried_again(store: Store, tmp_path: Path) -> None:
    store.mark_gone(["7"])
    with sqlite3.connect(tmp_path / "store.sqlite") as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM records").fetchone()
        store._engine.dispose()
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 1")
        store.erase_gone(known_by)
        assert not store.flush_erased()
        reading.rollback()
    reading.close()
    assert store.flush_erased()
    store.close()
