"""A full disk, a damaged file, a path that can't be: each has a name, says the fix, and loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from nextlabel.backend.store import Store
from nextlabel.connectors.errors import StoreError, StoreFull
from nextlabel.connectors.records import Annotation, Changes, Record

Answer = Callable[..., Annotation]
Make = Callable[..., list[Record]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill_up(write: Callable[[int], object]) -> int:
    """Write until the disk is full; return how many writes were promised to be stored."""
    for number in range(10_000):
        try:
            write(number)
        except StoreFull:
            return number
    raise AssertionError("the disk never filled up")


def twenty_records(store: Store) -> Callable[[int], object]:
    return lambda batch: store.add_records(Record(f"{batch}-{i}", {"text": "x" * 2000}) for i in range(20))


def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_space(small_disk: Path, answer: Answer) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 400_000)
    with Store.open(small_disk / "store.db") as store:
        store.append(Changes(annotations=(answer("1"),)))
        stored = 20 * fill_up(twenty_records(store))
        logged = 1 + fill_up(lambda second: store.append(Changes(annotations=(answer("2", at=second),))))
        assert store.size() == stored
        assert store.head() == logged
        ballast.unlink()
        store.append(Changes(annotations=(answer("3"),)))
        assert "3" in {one.id for one in store.answers()}
    with Store.open(small_disk / "store.db") as store:
        assert len(list(store.records())) == stored
        assert {"1", "3"} <= {one.id for one in store.answers()}


def test_a_store_that_may_not_grow_is_full(store: Store, answer: Answer) -> None:
    """The same without root: SQLite itself limits the file."""

    def limit(connection: object, _record: object, _proxy: object) -> None:
        connection.execute("PRAGMA max_page_count = 100")  # type: ignore[attr-defined]

    sa.event.listen(store._engine, "checkout", limit)
    store.append(Changes(annotations=(answer("1"),)))
    batches = fill_up(twenty_records(store))
    assert batches > 0
    assert store.size() == 20 * batches
    with pytest.raises(StoreFull, match="free some space"):
        twenty_records(store)(batches)
    assert [one.id for one in store.answers()] == ["1"]
    sa.event.remove(store._engine, "checkout", limit)


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"this is a text\n" * 1000)
    with pytest.raises(StoreError, match=r"store\.db is damaged.*restore a backup"):
        Store.open(path)


def test_a_damaged_page_is_named_not_guessed_around(path: Path, make_records: Make) -> None:
    with Store.open(path) as store:
        store.add_records(make_records(3000))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(b"\xff" * (size // 2))
    with pytest.raises(StoreError, match="damaged"):
        read_everything(path)


def read_everything(path: Path) -> None:
    with Store.open(path) as store:
        list(store.records())
        store.get([f"u{i}" for i in range(3000)])


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be opened"):
        Store.open(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="can't create the folder"):
        Store.open(tmp_path / "file" / "store.db")


@pytest.mark.parametrize("target", [":memory:", "sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused(target: str) -> None:
    with pytest.raises(StoreError, match="give it a path"):
        Store.open(target)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(StoreError, match="not mysql"):
        Store.open("mysql://user:secret@localhost/db")


def test_a_missing_driver_is_named_and_the_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    with pytest.raises(StoreError, match="psycopg2 is not installed") as caught:
        Store.open("postgresql+psycopg2://user:secret@localhost/db")
    assert "secret" not in str(caught.value)


def test_neither_texts_nor_answers_are_in_an_error(store: Store) -> None:
    store.add_records([Record("a", {"text": "private"}), Record("b", {"text": "other"})])
    with pytest.raises(StoreError) as caught:
        store.set_remote({"a": "1", "b": "1"})
    assert "private" not in str(caught.value)
    assert "remote_id" in str(caught.value)


def test_writers_take_turns(store: Store, path: Path, answer: Answer) -> None:
    """Two stores on one file, four threads: everything arrives, nobody is refused."""
    with Store.open(path) as second:

        def work(target: Store, worker: int) -> None:
            for i in range(50):
                target.append(Changes(annotations=(answer(f"{worker}-{i}"),)))

        threads = [threading.Thread(target=work, args=(target, n)) for n, target in enumerate((store, second) * 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {one.id for one in store.answers()} == {f"{worker}-{i}" for worker in range(4) for i in range(50)}
    assert store.head() == 200
