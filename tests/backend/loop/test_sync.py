"""What others put on the platform is found, without reading everything each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.loop.record_import import ImportPlan, RecordImport
from nextlabel.backend.loop.sync import Sync
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformError, PlatformUnavailable
from nextlabel.connectors.records import Record
from nextlabel.connectors.testing import MemoryConnector

SIZE = 1000


@pytest.fixture
def found() -> list[str]:
    return []


@pytest.fixture
def sync(tmp_path: Path, platform: MemoryConnector, store: Store, found: list[str]) -> Sync:
    """A sync that has read a platform with a thousand records once."""
    add(platform, range(SIZE))
    made = make_sync(store, platform, found)
    made.pull()
    assert store.size() == 60 + SIZE
    found.clear()
    platform.records_read = 0
    return made


def nothing(*_: object) -> None: ...


def make_sync(store: Store, platform: MemoryConnector, found: list[str]) -> Sync:
    intake = Intake(store, platform, on_news=nothing, on_gone=nothing, wake=nothing)
    records = RecordImport(store, platform, ImportPlan(), found.extend, intake.lose_records)
    return Sync(store, platform, intake, records, noticed=nothing)


def add(platform: MemoryConnector, numbers: range) -> None:
    platform.pushed.update({f"f{n}": Record(f"memory:f{n}", {"text": f"foreign text {n}"}) for n in numbers})


def test_a_look_for_news_reads_little(sync: Sync, platform: MemoryConnector, store: Store, found: list[str]) -> None:
    sync.pull()
    assert platform.records_read == 0, "nobody said that there is anything"
    sync.want_records()
    sync.pull()
    assert platform.records_read <= 50
    assert found == []
    add(platform, range(SIZE, SIZE + 3))
    sync.want_records()
    sync.pull()
    assert sorted(found) == [f"memory:f{n}" for n in range(SIZE, SIZE + 3)]
    assert {item.remote_id for item in store.get(found)} == {f"f{n}" for n in range(SIZE, SIZE + 3)}
    assert platform.records_read <= 250


def test_news_behind_many_of_our_own_are_found(sync: Sync, platform: MemoryConnector, store: Store) -> None:
    add(platform, range(SIZE, SIZE + 1))
    ours = [Record(f"o{n}", {"text": f"ours {n}"}) for n in range(300)]
    store.add_records(ours)
    store.set_remote(platform.push(ours))
    sync.want_records()
    sync.pull()
    assert store.get([f"memory:f{SIZE}"])
    assert platform.records_read < 500


def test_a_stranger_is_looked_for_everywhere(sync: Sync, platform: MemoryConnector, store: Store) -> None:
    platform.pushed = {"old": Record("memory:old", {"text": "came back"}), **platform.pushed}  # the oldest of all
    sync.want_records()
    sync.pull()
    assert not store.get(["memory:old"])
    sync.want_records(["old"])
    sync.pull()
    assert store.get(["memory:old"])


def test_a_failed_look_is_repeated(sync: Sync, platform: MemoryConnector, store: Store) -> None:
    add(platform, range(SIZE, SIZE + 1))
    sync.want_records()
    platform.fail_next["records"] = PlatformUnavailable("down")
    sync.pull()
    assert sync.steps.errors == {"added records": "PlatformUnavailable: down"}
    sync.pull()
    assert store.get([f"memory:f{SIZE}"])
    assert sync.steps.errors == {}


@pytest.mark.parametrize(
    "error", [PlatformUnavailable("down"), PlatformError("no", status=400), ValueError("a defect")]
)
def test_a_step_that_fails_stops_no_other_and_is_told_by_its_name(
    platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    sync = make_sync(store, platform, [])
    add(platform, range(2))
    sync.pull()
    assert sync.is_ready
    platform.fail_next["missing"] = error
    sync.want_deletions()
    sync.pull()
    assert list(sync.steps.errors) == ["deleted records"]
    assert str(error) in sync.steps.errors["deleted records"]
    sync.pull()
    assert sync.steps.errors == {}
    given = platform.annotate("f0", "cat")

    def refuse(*_: object) -> set[str]:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(sync._records, "keep", refuse)
        add(platform, range(3))
        platform.correct("f1", text="corrected")
        platform.fail_next["records"] = error
        sync.want_records()
        sync.pull()
    assert set(sync.steps.errors) == {"corrected records", "added records"}
    assert [one.id for one in store.answers()] == [given.id]
    sync.pull()
    assert sync.steps.errors == {}
    assert [item.record.fields["text"] for item in store.get(["memory:f1"])] == ["corrected"]
    assert store.get(["memory:f2"])


def test_nothing_is_imported_before_it_is_known_what_was_answered(platform: MemoryConnector, store: Store) -> None:
    """Whoever was answered before we came is not shown blind."""
    sync = make_sync(store, platform, [])
    platform.fail_next["changes"] = PlatformError("no", status=400)
    sync.pull()
    assert list(sync.steps.errors) == ["answers"]
    assert (sync.is_ready, platform.records_read) == (False, 0)
    platform.fail_next["changes"] = PlatformUnavailable("down")
    with pytest.raises(PlatformUnavailable):
        sync.pull()
    sync.pull()
    assert sync.is_ready


def test_a_start_looks_for_what_was_added_meanwhile(
    sync: Sync, platform: MemoryConnector, store: Store, found: list[str]
) -> None:
    add(platform, range(SIZE, SIZE + 1))
    make_sync(store, platform, found).pull()
    assert found == [f"memory:f{SIZE}"]
    assert platform.records_read <= 150


def test_answers_are_read_before_the_records_that_have_them(
    platform: MemoryConnector, store: Store, found: list[str]
) -> None:
    """So whoever was answered before we came is not shown blind, and the slice is drawn at the first look."""
    add(platform, range(SIZE))
    platform.annotate_all({f"f{n}": "cat" for n in range(SIZE // 2)})
    make_sync(store, platform, found).pull()
    audit = {item.remote_id for item in store.records() if item.audit}
    assert audit.isdisjoint(one.remote_id for one in platform.answers.values())
    assert len([item for item in store.records() if item.seen == "answered"]) == SIZE // 2


def test_what_others_put_there_is_not_pushed(platform: MemoryConnector, store: Store, found: list[str]) -> None:
    """The file of the recipe was imported by hand, in part, before it was read here."""
    records = [item.record for item in store.records()]
    platform.pushed.update({f"f{n}": Record(f"memory:f{n}", record.fields) for n, record in enumerate(records[:20])})
    make_sync(store, platform, found).pull()
    assert [record.uid for record in store.unpushed(99)] == [record.uid for record in records[20:]]
    assert store.get_remote(["f7"])["f7"].record.uid == "u7"
    assert sorted(found) == sorted(record.uid for record in records[:20])


def test_what_the_data_has_in_other_words_says_what_annotators_see(
    platform: MemoryConnector, store: Store, found: list[str]
) -> None:
    platform.pushed["f3"] = Record("u3", {"text": "corrected there"})
    make_sync(store, platform, found).pull()
    [item] = store.get(["u3"])
    assert (item.remote_id, item.record.fields) == ("f3", {"text": "corrected there"})
    assert found == ["u3"]
