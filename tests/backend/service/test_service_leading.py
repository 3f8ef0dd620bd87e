"""Who leads and who stands by, seen from the service: what each may do, and what happens when it changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from nextlabel.backend.loop.leadership import LEASE
from nextlabel.backend.service.project import PROJECT
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ConfigError, Overloaded, StoreError
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import settled, started
from tests.waiting import wait_for


def address(name: str) -> BackendAddress:
    return BackendAddress(f"http://{name}", "user", "password", "secret")


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.loop.leadership.RENEW_EVERY", 0.1)


def hand_over(leader: Service, standby: Service) -> None:
    """Make ``standby`` lead, and ``leader`` stand by."""
    renew = leader._leadership.renew
    leader._leadership.renew = lambda: 0.1  # type: ignore[method-assign]
    leader._leadership.give_up()
    wait_for(lambda: standby.status().leader)
    leader._leadership.renew = renew  # type: ignore[method-assign]
    wait_for(lambda: leader._leadership.leader == standby._leadership.owner)


def test_each_new_leader_hooks_itself_up_and_nobody_who_stands_by(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    def connected() -> list[str]:
        return [one.url for one in platform.connected]

    one, other = make_service(), make_service()
    one.start(address("one"))
    wait_for(lambda: connected() == ["http://one"])
    other.start(address("other"))
    wait_for(lambda: other.status().state == "standing by" and platform.published and settled(one, store))
    assert connected() == ["http://one"]
    hand_over(one, other)
    wait_for(lambda: connected() == ["http://one", "http://other"])
    other.stop()
    wait_for(lambda: connected() == ["http://one", "http://other", "http://one"])


def test_a_leader_that_is_back_knows_what_was_done_meanwhile(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    one, other = started(make_service, platform), make_service()
    other.start()
    hand_over(one, other)
    [placed, deleted, *_] = platform.queue()
    # What a leader that came in between may have noted: another id on the platform, a record that is gone.
    [item] = store.get_remote([placed]).values()
    platform.pushed["r-moved"] = platform.pushed.pop(placed)
    store.set_remote({item.record.uid: "r-moved"})
    del platform.pushed[deleted]
    store.mark_gone([deleted])
    # A generation may still be under way, and another one follows what was noted: the last of them is in force.
    wait_for(lambda: settled(other, store) and other.status().generation == platform.published[-1][0])
    in_force = platform.published[-1][0]
    other.stop()
    wait_for(lambda: one.status().leader and platform.published[-1][0] != in_force and settled(one, store))
    served = {entry.remote_id for entry in platform.published[-1][1]}
    assert deleted not in served
    platform.annotate("r-moved", "cat")
    wait_for(lambda: one.status().labelled == 1)


def test_one_that_stands_by_writes_no_model(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    store.acquire(LEASE, "another machine", 3600.0)
    standby = make_service()
    standby.start()
    assert standby.status().model_version == ""
    assert store.models() == []
    store.add_model("probe-7", "probe", 7, {}, "not here")
    store.set_current("probe-7")
    store.release(LEASE, "another machine")
    wait_for(lambda: standby.status().leader and settled(standby, store))
    assert standby.status().model_version == "probe-0"


def test_one_that_stands_by_says_who_leads(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    store.acquire(LEASE, "another machine", 3600.0)
    standby = make_service()
    standby.start()
    with pytest.raises(Overloaded, match="this service stands by; ask the one that leads: another machine"):
        standby.train()
    with pytest.raises(Overloaded, match="another machine"):
        standby.ask_again(["u0"], 2)


@pytest.mark.parametrize("leads", [True, False])
def test_a_service_whose_project_is_no_longer_the_stores_ends(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, leads: bool
) -> None:
    store.set_meta(PROJECT, platform.project.id)
    if not leads:
        store.acquire(LEASE, "another machine", 3600.0)
    service, ended = make_service(), []
    service.start(on_failure=lambda: ended.append(service.status().last_error))
    wait_for(lambda: service.status().state == ("idle" if leads else "standing by"))
    assert (service.failure, ended) == (None, [])
    store.set_meta(PROJECT, "2")
    wait_for(lambda: ended)
    assert isinstance(service.failure, ConfigError)
    assert ended == [str(service.failure)]
    assert "the store's project is 2 now, and this service works for 1: it ends" in ended[0]
    wait_for(lambda: service.status().state == "standing by")
    lease = store.lease(LEASE)
    assert (lease and lease.owner) == (None if leads else "another machine")
    store.set_meta(PROJECT, "1")
    wait_for(lambda: service.status().state == "standing by")
    assert len(ended) == 1


def test_a_store_that_is_deleted_ends_the_service(
    make_service: ServiceFactory, platform: MemoryConnector, tmp_path: Path
) -> None:
    service, ended = make_service(), Event()
    service.start(on_failure=ended.set)
    wait_for(lambda: service.status().generation)
    (tmp_path / "store.sqlite").rename(tmp_path / "moved.sqlite")
    assert ended.wait(20)
    assert isinstance(service.failure, StoreError)
    assert "was deleted while it was in use" in service.status().last_error


def test_who_holds_the_store_up_is_told(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nextlabel.backend.service.service.LONGEST_WAIT", 0.05)
    service = started(make_service, platform)
    with closing(sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_for(lambda: "another process writes to it" in service.status().errors.get("store", ""))
    wait_for(lambda: "store" not in service.status().errors)
