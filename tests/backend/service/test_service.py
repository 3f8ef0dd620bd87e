"""The loop on a platform in memory: every odd moment at which something may go wrong."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.service.ports import Backend
from nextlabel.backend.store import Store
from nextlabel.connectors.base import BackendAddress, Connector
from nextlabel.connectors.errors import LearningError, Overloaded, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.records import AnnotationStatus, Hint, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import about, settled, started, tell
from tests.waiting import wait_for


def test_the_fakes_are_what_they_stand_for(platform: MemoryConnector, make_service: ServiceFactory) -> None:
    assert isinstance(platform, Connector)
    backend: Backend = make_service()  # checked by mypy, as all tests are
    assert backend.labeling is platform.labeling


def test_first_queue_exists_before_the_first_label(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    started(make_service, platform)
    assert len(platform.pushed) == 60
    audit = {item.remote_id for item in store.records() if item.audit}
    _, queue = platform.published[-1]
    assert len(queue) == 10  # head and tail
    assert {entry.remote_id for entry in queue} & audit
    for entry in queue:
        assert (entry.suggestion is None) == (entry.remote_id in audit)  # the audit slice is blind


def test_a_label_makes_a_new_queue_without_its_record(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    first = platform.queue()[0]
    tell(service, store, platform.annotate(first, "cat"))
    wait_for(lambda: settled(service, store))
    version, queue = platform.published[-1]
    assert first not in {entry.remote_id for entry in queue}
    assert service.serving_version == version
    assert service.status().labelled == 1
    assert service.status().label_to_queue_p50 is not None


def test_a_burst_of_labels_is_one_queue(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    service = started(make_service, platform, poll_interval=60)
    before = len(platform.published)
    answers = [platform.annotate(remote_id, "oak") for remote_id in list(platform.pushed)[:40]]
    for one in answers:
        service.notify(about(one))
    wait_for(lambda: settled(service, store) and service.status().labelled == 40)
    assert len(platform.published) - before < 40


def test_a_label_without_webhook_is_found_by_the_poll(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform)
    platform.annotate(platform.queue()[0], "cat")
    wait_for(lambda: service.status().labelled == 1)


def test_a_label_given_while_nothing_ran_is_in_the_first_queue(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    started(make_service, platform).stop()
    remote_id = platform.queue()[0]
    platform.annotate(remote_id, "cat")
    service = started(make_service, platform)
    assert service.status().labelled == 1
    assert remote_id not in {entry.remote_id for entry in platform.published[-1][1]}


def test_a_crash_between_publishing_and_noting_it_is_repaired(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.fail_next["published"] = PlatformUnavailable("the reply was lost; the queue is there")
    service = make_service()
    service.start()
    wait_for(lambda: len(platform.published) == 2 and settled(service, store))
    orphan = platform.published[0][0]
    wait_for(lambda: orphan in platform.retired)
    assert platform.published[-1][0] not in platform.retired


def test_old_queues_are_kept_for_those_who_hold_their_records(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, keep=3600.0)
    tell(service, store, platform.annotate(platform.queue()[0], "cat"))
    wait_for(lambda: len(platform.published) == 2 and settled(service, store))
    threading.Event().wait(2.5)  # the quiet moment in which it would be deleted
    assert platform.retired == []


def test_rows_that_the_platform_drops_are_sent_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.fail_next["publish"] = RecordsRejected("50 sent, 0 stored", sent=50, stored=0)
    service = make_service()
    service.start()
    wait_for(lambda: platform.published and settled(service, store))


def test_platform_down_is_reported_and_survived(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform)
    platform.down = True
    wait_for(lambda: not service.status().platform_reachable)
    assert "start it" in service.status().last_error
    assert asyncio.run(service.predict([Record("new", {"text": "an oak"})]))[0] is not None  # still answers
    first = platform.queue()[0]
    platform.annotate(first, "cat")  # its webhook is lost with the platform
    platform.down = False
    wait_for(lambda: service.status().labelled == 1 and settled(service, store))
    wait_for(lambda: service.status().platform_reachable)
    assert service.status().last_error == ""


def test_what_fails_beside_the_answers_delays_no_queue_and_is_told_by_its_name(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PlatformUnavailable("users can't be read", status=500)

    with monkeypatch.context() as patched:
        for name in ("look_after", "links"):
            patched.setattr(platform, name, refuse)
        service = started(make_service, platform)
        status = service.status()
        assert set(status.errors) == {"people and their queues", "links"}
        assert "users can't be read" in status.last_error
        platform.annotate(platform.queue()[0], "cat")
        wait_for(lambda: service.status().labelled == 1)
    wait_for(lambda: service.status().errors == {} and service.status().last_error == "")


def test_of_two_backends_one_publishes_and_the_other_takes_over(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    leader = started(make_service, platform)
    standby = make_service()
    standby.start()
    assert asyncio.run(standby.predict([Record("x", {"text": "a cat asleep"})]))[0] is not None
    assert not standby.status().leader
    told, waits = leader.status().lease, standby.status().lease
    assert (told["owner"], told["since"]) == (waits["owner"], waits["since"])
    assert (told["ours"], waits["ours"]) == (True, False)
    published = len(platform.published)
    tell(standby, store, platform.annotate(platform.queue()[0], "cat"))  # reaches the wrong one
    wait_for(lambda: leader.status().labelled == 1 and len(platform.published) == published + 1)
    leader.stop()
    wait_for(lambda: standby.status().leader)
    wait_for(lambda: standby.status().labelled == 1)


def test_a_training_is_refused_before_the_answers_are_known(
    make_service: ServiceFactory, platform: MemoryConnector
) -> None:
    platform.down = True
    leader = make_service()
    leader.start()
    wait_for(lambda: leader.status().leader and not leader.status().platform_reachable)
    with pytest.raises(
        Overloaded, match=r"has not read the answers since its start \(PlatformUnavailable: memory is down"
    ):
        leader.train()
    platform.down = False
    wait_for(lambda: leader.status().state == "idle")
    with pytest.raises(LearningError):
        leader.train()
    standby = make_service()
    standby.start()
    with pytest.raises(Overloaded, match="stands by"):
        standby.train()


def test_deleted_records_and_answers_leave(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    first, second = platform.queue()[:2]
    one = platform.annotate(first, "cat")
    tell(service, store, one)
    wait_for(lambda: settled(service, store) and service.status().labelled == 1)
    del platform.answers[one.id]
    service.notify(Hint(annotations={one.id: None}))
    wait_for(lambda: settled(service, store) and service.status().labelled == 0)
    del platform.pushed[second]
    service.notify(Hint(records=frozenset({second})))
    wait_for(lambda: settled(service, store) and service.status().records == 59)
    assert second not in {entry.remote_id for entry in platform.published[-1][1]}


def test_a_skipped_record_comes_last(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=QueueSizes(head=60, tail=0))
    first = platform.queue()[0]
    tell(service, store, platform.annotate(first, None, status=AnnotationStatus.SKIPPED))
    wait_for(lambda: settled(service, store))
    assert platform.published[-1][1][-1].remote_id == first


def test_overlap_keeps_a_record_open_until_enough_people_answered(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.overlap = 2
    service = started(make_service, platform, poll_interval=60, sizes=QueueSizes(head=60, tail=0))
    first = platform.queue()[0]
    tell(service, store, platform.annotate(first, "cat", "ann"))
    wait_for(lambda: settled(service, store))
    assert first in {entry.remote_id for entry in platform.published[-1][1]}
    tell(service, store, platform.annotate(first, "cat", "bob"))
    wait_for(lambda: settled(service, store))
    assert first not in {entry.remote_id for entry in platform.published[-1][1]}


def test_when_all_is_labelled_the_loop_rests(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    tell(service, store, *(platform.annotate(one, "cat") for one in platform.pushed))
    wait_for(lambda: settled(service, store))
    published = len(platform.published)
    assert service.status().labelled == 60
    threading.Event().wait(0.3)
    assert len(platform.published) == published


def test_unknown_labels_are_kept_in_the_log_and_not_learned(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    tell(service, store, platform.annotate(platform.queue()[0], "unicorn"))
    wait_for(lambda: settled(service, store))
    assert service.status().labelled == 0
    assert "unicorn" in service.status().last_error
    assert [one.value for one in store.answers()] == [("unicorn",)]


def test_feed_mode_keeps_a_window_full(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=QueueSizes(head=5, tail=5, window=12))
    assert len(platform.pushed) == 12
    for remote_id in platform.queue()[:4]:
        tell(service, store, platform.annotate(remote_id, "cat"))
    wait_for(lambda: settled(service, store) and service.status().labelled == 4)
    assert len(platform.pushed) == 16


def test_records_added_on_the_platform_join_the_pool(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    platform.pushed["foreign"] = Record("memory:foreign", {"text": "an oak out of the blue"})
    service.notify(Hint(records_added=True))
    wait_for(lambda: service.status().records == 61)


def test_connects_once_the_platform_answers(make_service: ServiceFactory, platform: MemoryConnector) -> None:
    platform.down = True
    service = make_service()
    address = BackendAddress("http://127.0.0.1:9", "user", "password", "secret")
    service.start(address)
    wait_for(lambda: not service.status().platform_reachable)
    platform.down = False
    wait_for(lambda: platform.connected == [replace(address, owner="animals")])


def test_answers_to_records_that_we_lack_bring_the_records_in(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    platform.pushed["foreign"] = Record("memory:foreign", {"text": "an oak out of the blue"})
    tell(service, store, platform.annotate("foreign", "oak"))  # before anybody told us of the record
    wait_for(lambda: service.status().records == 61 and service.status().labelled == 1)
