"""A record that the platform does not take stops no other, is told, and gets another chance."""

from __future__ import annotations

import pytest

from nextlabel.backend.loop import pushing
from nextlabel.backend.loop.pushing import Pusher
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import started
from tests.waiting import wait_for


def test_all_others_are_pushed_and_the_refused_is_told(store: Store, platform: MemoryConnector) -> None:
    platform.refuses = {"u3": "too odd"}
    pusher = Pusher(store, platform)
    batch = pusher.next(10)
    assert pusher.push(batch) == [f"u{number}" for number in range(10) if number != 3]
    [told] = store.notices()
    assert told.message == "the platform does not take record 'u3': too odd"
    assert "u3" not in {record.uid for record in pusher.next(100)}


def test_it_is_tried_again_and_what_was_told_is_over(
    store: Store, platform: MemoryConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.refuses = {"u3": "too odd"}
    Pusher(store, platform).push(store.unpushed(100))
    platform.refuses = {}
    monkeypatch.setattr(pushing, "AGAIN_S", 0.0)
    later = Pusher(store, platform)
    assert later.push(later.next(100)) == ["u3"]
    assert store.notices() == []


def test_where_nobody_knows_which_were_stored_nothing_is_set_aside(store: Store, platform: MemoryConnector) -> None:
    platform.fail_next["push"] = RecordsRejected("9 of 10 stored", sent=10, stored=9)
    pusher = Pusher(store, platform)
    with pytest.raises(RecordsRejected):
        pusher.push(pusher.next(10))
    assert len(pusher.next(100)) == 60


@pytest.mark.parametrize("window", [None, 20])
def test_the_queue_goes_out_without_it(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, window: int | None
) -> None:
    platform.refuses = {f"u{number}": "too odd" for number in range(0, 60, 20)}
    service = started(make_service, platform, sizes=QueueSizes(head=5, tail=5, window=window))
    assert platform.queue()
    assert not platform.pushed.keys() & {"r-u0", "r-u20", "r-u40"}
    label = platform.annotate(platform.queue()[0], "cat")
    wait_for(lambda: service.status().labelled == 1)
    assert label.id in {one.id for one in store.answers()}


def test_a_record_without_a_place_is_told_until_it_has_one(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform)
    platform.refuses = {record.uid: "its metadata are out of date" for record in platform.pushed.values()}
    platform.annotate(platform.queue()[0], "cat")
    wait_for(lambda: {one.remote_id for one in store.notices()} == {one.remote_id for one in platform.published[-1][1]})
    platform.refuses = {}
    platform.annotate(platform.queue()[0], "oak")
    wait_for(lambda: service.status().labelled == 2)
    wait_for(lambda: store.notices() == [])
