"""Records that are corrected, replaced or added without a word: what the loop makes of it, and what it tells."""

from __future__ import annotations

import pytest

from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.service import hookup
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.records import Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import settled, started
from tests.waiting import wait_for


def kinds(service: Service) -> set[str]:
    return {one["kind"] for one in service.status().notices}


def test_corrected_words_are_encoded_learned_and_exported(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
):
    service = started(make_service, platform)
    first, second = list(platform.pushed)[:2]
    platform.annotate(first, "cat")
    wait_for(lambda: service.status().labelled == 1 and settled(service, store))
    model = service.status().model_version
    platform.correct(first, text="other words")
    platform.correct(second, text="others again")
    wait_for(lambda: service.status().model_version != model and settled(service, store))
    assert kinds(service) == {"records corrected"}
    assert [row["field.text"] for row in record_rows(store, service.labeling)] == ["other words"]
    controller = service._controller
    at = store.get_remote([second])[second].position
    assert controller.pool.rows[at] == controller.space.cache.lookup(["others again"])[0]


def test_another_record_under_the_id_of_a_deleted_one_is_queued_and_learned_anew(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
):
    platform.put("7", Record("7", {"text": "a cat, the first"}))
    service = started(make_service, platform)
    platform.annotate("7", "cat")
    wait_for(lambda: service.status().labelled == 1 and settled(service, store))
    platform.delete("7")
    platform.put("7", Record("7", {"text": "an oak, the second"}))
    wait_for(lambda: service.status().labelled == 0 and settled(service, store))
    assert service.status().records == 61
    assert kinds(service) == {"records replaced"}
    platform.annotate("7", "oak")
    wait_for(lambda: service.status().label_counts == {"cat": 0, "oak": 1, "pebble": 0} and settled(service, store))
    assert [row["field.text"] for row in record_rows(store, service.labeling)] == ["an oak, the second"]


def test_all_deleted_and_others_imported_the_new_are_queued_and_the_loss_is_told(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
):
    service = started(make_service, platform)
    labelled = list(platform.pushed)[:12]
    platform.annotate_all(dict.fromkeys(labelled, "cat"))
    wait_for(lambda: service.status().labelled == 12 and settled(service, store))
    for remote_id in list(platform.pushed):
        platform.delete(remote_id)
    for number in range(20):
        platform.put(f"new {number}", Record(f"n{number}", {"text": f"an oak near house {number}"}))
    wait_for(lambda: "compare --believe" in service.status().last_error)
    wait_for(lambda: platform.queue() and all(remote_id.startswith("new") for remote_id in platform.queue()))
    assert service.status().labelled == 12, "what was said is kept until somebody decides"
    service.compare(believe=True)
    wait_for(lambda: service.status().records == 20 and settled(service, store))
    assert service.status().labelled == 0
    assert kinds(service) == {"records deleted"}


def test_records_that_nobody_told_of_come_and_go(make_service: ServiceFactory, platform: MemoryConnector, store: Store):
    service = started(make_service, platform)
    platform.put("mute", Record("mute", {"text": "a cat that nobody told of"}))
    wait_for(lambda: service.status().records == 61)
    platform.delete("mute")
    wait_for(lambda: service.status().records == 60)
    assert kinds(service) == {"records deleted"}


@pytest.mark.usefixtures("store")
def test_who_unhooks_the_service_is_found_out(
    make_service: ServiceFactory, platform: MemoryConnector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hookup, "REPAIR_EVERY", 0.0)
    service = make_service()
    service.start(BackendAddress("http://us.example", "ls", "a password", "a secret"))
    wait_for(lambda: platform.published and service.status().state == "idle")
    before, platform.unhooked = len(platform.published), ("the webhooks",)
    wait_for(lambda: len(platform.published) > before)
    assert kinds(service) == {"repaired"}
