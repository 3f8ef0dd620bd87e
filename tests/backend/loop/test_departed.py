"""Answers that went with their annotator's account are kept, and told; what people took back themselves is not."""

from __future__ import annotations

from nextlabel.backend.store import Store
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.running import about, settled, started, tell
from tests.waiting import wait_for


def test_answers_of_a_deleted_account_stay(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60)
    first, second, third = list(platform.pushed)[:3]
    leaver = [platform.annotate(first, "cat", "leaver"), platform.annotate(second, "oak", "leaver")]
    other = platform.annotate(third, "oak", "ann")
    tell(service, store, *leaver, other)
    wait_for(lambda: service._intake.is_settled)  # what is asked about next began after these were logged
    platform.left = {"leaver"}
    for one in (*leaver, other):
        platform.take_back(one.id)
    service.notify(about(*leaver, other))
    wait_for(lambda: {one.id for one in store.answers()} == {one.id for one in leaver})
    [told] = store.notices()
    assert told.message == "the account of leaver was deleted on the platform, and with it 2 answers, which are kept"
    wait_for(lambda: settled(service, store))
    assert service.status().labelled == 2
