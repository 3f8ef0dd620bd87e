"""When a generation that is out of force may go, whatever happens to the time of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nextlabel.backend.queue import publishing
from nextlabel.backend.queue.publishing import GenerationCleanup
from nextlabel.backend.store import Store
from nextlabel.connectors.testing import MemoryConnector

KEEP = 3600.0


class Clocks:
    """Seconds that go by, and how far the time of day is from right."""

    def __init__(self) -> None:
        self.seconds, self.wrong = 1000.0, 0.0

    def present(self) -> datetime:
        return datetime(2026, 11, 30, tzinfo=UTC) + timedelta(seconds=self.seconds + self.wrong)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()

    class Day(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return made.present()

    monkeypatch.setattr(publishing, "elapsed", lambda: made.seconds)
    monkeypatch.setattr(publishing, "datetime", Day)
    monkeypatch.setattr("nextlabel.backend.store.codec.now_micros", lambda: int(made.present().timestamp() * 1e6))
    return made


def publish(store: Store) -> str:
    row = store.plan_generation(0, "probe-0", 1)
    store.mark_published(row.number)
    return row.version


@pytest.fixture
def at_work(store: Store, platform: MemoryConnector) -> GenerationCleanup:
    return GenerationCleanup(store, platform, KEEP, lambda: 0.0)


def tidy(cleanup: GenerationCleanup) -> None:
    while cleanup.tidy() == 0.0:
        pass


def assert_kept_as_long_as_it_has_to_be(
    at_work: GenerationCleanup, clocks: Clocks, platform: MemoryConnector, old: str
) -> None:
    """From the last look on: there a second before its time, gone when that has come."""
    clocks.seconds += KEEP - 1
    tidy(at_work)
    assert platform.retired == []
    clocks.seconds += 1
    tidy(at_work)
    assert platform.retired == [old]


@pytest.mark.parametrize("jump", [0.0, 3600.0, -3600.0, 1e9, -1e9])
def test_it_goes_when_it_was_out_of_force_for_long_enough(
    at_work: GenerationCleanup, clocks: Clocks, store: Store, platform: MemoryConnector, jump: float
) -> None:
    old, new = publish(store), publish(store)
    tidy(at_work)
    clocks.wrong += jump
    assert_kept_as_long_as_it_has_to_be(at_work, clocks, platform, old)
    newest = publish(store)
    tidy(at_work)
    clocks.wrong -= jump
    clocks.seconds += KEEP
    tidy(at_work)
    assert platform.retired == [old, new]
    latest = store.latest_generation()
    assert latest is not None
    assert latest.version == newest


def test_what_was_before_a_restart_counts(
    at_work: GenerationCleanup, clocks: Clocks, store: Store, platform: MemoryConnector
) -> None:
    old, _ = publish(store), publish(store)
    assert_kept_as_long_as_it_has_to_be(at_work, clocks, platform, old)


def test_replaced_in_the_future_is_kept_as_long_as_any_and_no_longer(
    at_work: GenerationCleanup, clocks: Clocks, store: Store, platform: MemoryConnector
) -> None:
    """The clock was ahead by years, and was put right while nobody ran."""
    clocks.wrong = 1e8
    old, _ = publish(store), publish(store)
    clocks.wrong = 0.0
    tidy(at_work)
    assert_kept_as_long_as_it_has_to_be(at_work, clocks, platform, old)
