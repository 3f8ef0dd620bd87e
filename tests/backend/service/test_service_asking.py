"""A running service: what it suggests, what it asks about again, and what it hides."""

from __future__ import annotations

import asyncio

import pytest

from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import ConfigError, Overloaded, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.records import AnnotationStatus, Hint, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import settled, started, tell
from tests.waiting import wait_for


def test_without_live_predictions_everything_open_gets_a_suggestion(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.live_predictions = False
    service = started(make_service, platform, poll_interval=60)
    open_records = {item.remote_id for item in store.records() if not item.audit}
    suggested = {entry.remote_id for _, queue in platform.published for entry in queue if entry.suggestion}
    assert suggested == open_records
    _, queue = platform.published[-1]
    assert [entry.rank for entry in queue] == list(range(len(queue)))
    platform.pushed["foreign"] = Record("memory:foreign", {"text": "an oak out of the blue"})
    service.notify(Hint(records_added=True))
    wait_for(lambda: any(entry.remote_id == "foreign" and entry.suggestion for entry in platform.published[-1][1]))


def test_what_was_suggested_is_not_suggested_again_after_a_restart(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.live_predictions = False
    started(make_service, platform, poll_interval=60).stop()
    started(make_service, platform, poll_interval=60)
    assert len(platform.published[-1][1]) == 10  # head and tail


def test_rejected_suggestions_do_not_hold_up_the_others(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.live_predictions = False
    platform.fail_next["extend"] = RecordsRejected("no", sent=5, stored=0)
    service = started(make_service, platform, poll_interval=60, sizes=QueueSizes(head=5, tail=0))
    wait_for(lambda: service.status().last_error == "" and service.status().state == "idle")
    open_records = {item.remote_id for item in store.records() if not item.audit}
    suggested = {entry.remote_id for _, queue in platform.published for entry in queue if entry.suggestion}
    assert len(open_records - suggested) == 5


def test_with_live_predictions_the_queue_is_all(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    started(make_service, platform, poll_interval=60)
    assert len(platform.published[-1][1]) == 10


def labelled(service: Service, platform: MemoryConnector, store: Store, count: int) -> list[str]:
    chosen = platform.queue()[:count]
    tell(service, store, *(platform.annotate(one, "cat") for one in chosen))
    wait_for(lambda: settled(service, store) and service.status().labelled == count)
    return chosen


def test_records_asked_about_again_take_every_other_place_blind(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    chosen = labelled(service, platform, store, 3)
    uids = [platform.pushed[one].uid for one in chosen[:2]]
    published = len(platform.published)
    assert service.ask_again(uids, 2) == 2
    assert platform.asked_again == dict.fromkeys(chosen[:2], 2)
    wait_for(lambda: len(platform.published) > published)
    _, queue = platform.published[-1]
    assert {queue[0].remote_id, queue[2].remote_id} == set(chosen[:2])
    assert queue[0].suggestion is None
    assert queue[2].suggestion is None
    assert queue[1].remote_id not in chosen
    assert service.status().labelled == 3, "the first answers count meanwhile"
    tell(service, store, *(platform.annotate(one, "oak", "bob") for one in chosen[:2]))
    wait_for(lambda: settled(service, store))
    assert not {entry.remote_id for entry in platform.published[-1][1]} & set(chosen)
    service.ask_again(uids)
    assert platform.asked_again == dict.fromkeys(chosen[:2], 3), "by one more than by now"


def test_what_was_asked_survives_a_restart(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    chosen = labelled(service, platform, store, 1)
    service.ask_again([platform.pushed[chosen[0]].uid], 2)
    service.stop()
    started(make_service, platform, poll_interval=60)
    assert platform.published[-1][1][0].remote_id == chosen[0]


def test_asking_is_all_or_nothing(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    service = started(make_service, platform, poll_interval=60)
    uid = platform.pushed[platform.queue()[0]].uid
    with pytest.raises(ConfigError, match=r"there is no record .u99.*nobody was asked"):
        service.ask_again([uid, "u99"], 2)
    with pytest.raises(ConfigError, match="at least 2 opinions"):
        service.ask_again([uid], 1)
    platform.fail_next["ask_again"] = PlatformUnavailable("down")
    with pytest.raises(PlatformUnavailable):
        service.ask_again([uid], 2)
    assert platform.asked_again == {}
    assert [item.opinions for item in store.get([uid])] == [0]


def test_who_stands_by_is_not_asked(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    leader = started(make_service, platform)
    standby = make_service()
    standby.start()
    with pytest.raises(Overloaded, match="ask the one that leads"):
        standby.ask_again([platform.pushed[platform.queue()[0]].uid], 2)
    assert leader.status().leader


def test_a_draft_takes_its_record_out_of_the_queue(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=QueueSizes(head=60, tail=0))
    first = platform.queue()[0]
    tell(service, store, platform.annotate(first, "cat", status=AnnotationStatus.DRAFT))
    wait_for(lambda: settled(service, store))
    assert service.status().labelled == 0
    assert first not in {entry.remote_id for entry in platform.published[-1][1]}


def test_links_follow_the_people(make_service: ServiceFactory, platform: MemoryConnector) -> None:
    platform.people = {"ann": "memory://1/ann"}
    service = make_service()
    platform.fail_next["links"] = PlatformUnavailable("down")
    assert service.links == {}
    assert service.links == {"ann": "memory://1/ann"}
    service.start()
    platform.people["bob"] = "memory://1/bob"
    wait_for(lambda: service.status().links == platform.people)


@pytest.mark.parametrize("known", [True, False])
def test_predictions_are_blind_for_the_audit_slice_only(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, known: bool
) -> None:
    service = started(make_service, platform)
    stored = list(store.records())
    records = [item.record if known else Record("", item.record.fields) for item in stored]
    suggestions = asyncio.run(service.predict(records))
    blind = [one is None for one in suggestions]
    assert blind == [item.audit and known for item in stored]
