"""Old queue generations go, and one that can't keeps no other from going."""

from __future__ import annotations

from nextlabel.backend.queue.publishing import GenerationCleanup
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.testing import MemoryConnector


def test_a_generation_that_the_platform_keeps_is_left_and_the_next_goes(
    store: Store, platform: MemoryConnector
) -> None:
    rows = [store.plan_generation(0, "probe-0", 1) for _ in range(4)]
    for row in rows:
        store.mark_published(row.number)
    janitor = GenerationCleanup(store, platform, 0.0, lambda: 0.0)
    platform.fail_next["retire"] = PlatformError("somebody put it in force by hand", status=409)
    for _ in range(5):
        janitor.tidy()
    assert platform.retired == [rows[1].version, rows[2].version]
    assert [row.version for row in store.unretired()] == [rows[0].version, rows[3].version]
