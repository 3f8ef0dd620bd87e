"""The whole log against the whole platform: what slipped through is found, whatever hid it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from nextlabel.backend.loop.sync import KEY, Compared, last_comparison
from nextlabel.backend.loop.withheld import decide_beforehand
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import Overloaded, PlatformUnavailable
from nextlabel.connectors.records import Annotation, Changes
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import started, tell
from tests.waiting import wait_for

Begin = Callable[[], Service]


@pytest.fixture
def begin(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> Begin:
    """A service that polls once and then seldom, and has compared."""

    def start() -> Service:
        service = started(make_service, platform, poll_interval=60)
        wait_for(lambda: service.status().comparison["ended"] == 1)
        return service

    return start


def compared(service: Service, *, believe: bool = False) -> dict[str, object]:
    number = service.compare(believe=believe)
    wait_for(lambda: service.status().comparison["ended"] >= number)
    return service.status().comparison


def current(store: Store) -> dict[str, Annotation]:
    return {one.id: one for one in store.answers(drafts=True)}


def label(platform: MemoryConnector, count: int) -> list[Annotation]:
    return [platform.annotate(remote_id, "cat") for remote_id in list(platform.pushed)[:count]]


def test_what_polls_and_webhooks_missed_is_found(begin: Begin, platform: MemoryConnector, store: Store) -> None:
    service = begin()
    given = label(platform, 20)
    tell(service, store, *given)
    missed = platform.annotate(platform.queue()[0], "oak")
    del platform.answers[given[0].id]
    platform.answers[given[1].id] = replace(given[1], value=("oak",), updated_at=given[1].updated_at - timedelta(1))
    found = compared(service)
    assert current(store) == platform.answers
    assert missed.id in current(store)
    assert (found["answers"], found["found"], found["withheld"], found["agree"]) == (20, 3, 0, True)
    assert compared(service)["found"] == 0
    wait_for(lambda: service.status().labelled == 20)


def test_answers_that_an_earlier_version_hid_come_back_at_the_start(
    begin: Begin, platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    """It believed counters (absent), webhooks (deleted; a time of the future), and that a record was gone."""
    first = begin()
    given = label(platform, 30)
    tell(first, store, *given)
    first.stop()
    with sa.create_engine(f"sqlite:///{tmp_path / 'store.sqlite'}").begin() as connection:
        row = "INSERT INTO annotation_log (kind, subject, stamp, remote_id, source, logged_at)"
        for kind, one in zip(("absent", "deleted"), given, strict=False):
            connection.exec_driver_sql(f"{row} VALUES ('{kind}', '{one.id}', 99, '{one.remote_id}', 'webhook', 0)")
        lost = given[2].remote_id
        connection.exec_driver_sql(f"{row} VALUES ('gone', '{lost}', 99, '{lost}', 'webhook', 0)")
        connection.exec_driver_sql(f"UPDATE records SET gone = 1 WHERE remote_id = '{lost}'")
    forged = replace(given[3], value=("oak",), updated_at=datetime(2030, 1, 1, tzinfo=UTC))
    store.append(Changes((forged,)))
    assert len(current(store)) == 27
    service = begin()
    wait_for(lambda: service.status().labelled == 30)
    assert current(store) == platform.answers
    assert service.status().records == 60
    assert service.status().comparison["agree"]


def test_everything_gone_is_told_until_somebody_decides(begin: Begin, platform: MemoryConnector, store: Store) -> None:
    service = begin()
    tell(service, store, *label(platform, 20))
    platform.answers.clear()
    found = compared(service)
    assert (found["withheld"], found["agree"]) == (20, False)
    assert "20 answers" in service.status().last_error
    assert last_comparison(store) == Compared(0, 0, 20, str(found["ended_at"]))
    assert len(current(store)) == 20
    assert compared(service, believe=True)["agree"]
    assert current(store) == {}
    wait_for(lambda: service.status().labelled == 0 and service.status().last_error == "")


def restore_without(lost: Sequence[Annotation], service: Service, platform: MemoryConnector) -> None:
    """The platform is away, and comes back as it was before these answers."""
    platform.restored = platform.down = True
    wait_for(lambda: "sync" in service.status().errors)
    for one in lost:
        del platform.answers[one.id]
    platform.down = False


def test_a_restored_platform_that_gives_ids_away_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    """A few answers are told, too; and those whose ids others have by now, which nobody can bring back."""
    service = started(make_service, platform)
    wait_for(lambda: service.status().comparison["ended"] == 1)
    given = label(platform, 6)
    tell(service, store, *given)
    restore_without(given[3:], service, platform)
    wait_for(lambda: "it lacks, or has otherwise, 3 answers, and" in service.status().last_error)
    elsewhere = list(platform.pushed)[20]
    again = replace(given[3], remote_id=elsewhere, annotator="bob", updated_at=given[5].updated_at + timedelta(1))
    platform.answers[again.id] = again
    wait_for(lambda: "2 answers, and 1 more, whose ids others have now" in service.status().last_error)
    assert set(current(store)) == {one.id for one in given}
    platform.restored = False
    number = service.compare(keep=True)
    wait_for(lambda: service.status().comparison["ended"] >= number)
    assert service.status().comparison["kept"] == 2
    assert service.status().last_error == ""


@pytest.mark.parametrize(("side", "left"), [("platform", 3), ("ours", 6)])
def test_who_is_right_after_a_restore_may_be_decided_beforehand(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, side: str, left: int
) -> None:
    decide_beforehand(store, side)
    service = started(make_service, platform)
    given = label(platform, 6)
    tell(service, store, *given)
    restore_without(given[3:], service, platform)
    wait_for(lambda: "sync" not in service.status().errors)
    found = compared(service)
    assert (len(current(store)), found["withheld"], found["kept"]) == (left, 0, left - 3)
    wait_for(lambda: service.status().last_error == "")


def test_a_comparison_that_fails_is_begun_again(begin: Begin, platform: MemoryConnector, store: Store) -> None:
    service = begin()
    platform.fail_next["annotated"] = PlatformUnavailable("down")
    missed = label(platform, 3)
    assert compared(service)["answers"] == 3
    assert set(current(store)) == {one.id for one in missed}


def test_it_comes_again_by_itself(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    service = started(make_service, platform, poll_interval=60, compare_interval=0.05)
    wait_for(lambda: service.status().comparison["ended"] > 3)
    label(platform, 3)
    wait_for(lambda: len(current(store)) == 3)


def test_a_service_that_stops_does_not_wait_for_it(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = threading.Event()

    def annotated() -> object:
        endless.set()
        while True:
            yield Changes()

    monkeypatch.setattr(platform, "annotated", annotated)
    service = started(make_service, platform, poll_interval=60)
    assert endless.wait(20)
    service.stop()
    assert not any(thread.name == "nextlabel-comparison" for thread in threading.enumerate())


def test_a_standby_does_not_compare(begin: Begin, make_service: ServiceFactory, platform: MemoryConnector) -> None:
    begin()
    standby = make_service()
    standby.start()
    with pytest.raises(Overloaded, match="stands by"):
        standby.compare()


@pytest.mark.parametrize("noted", ["", "no JSON", "[]", '{"answers": 1}'])
def test_a_note_of_another_version_is_none(store: Store, noted: str) -> None:
    store.set_meta(KEY, noted)
    assert last_comparison(store) is None
