"""How long labels wait for a queue that knows them, counted for Prometheus."""

from __future__ import annotations

import time

import pytest

from nextlabel.backend.queue.publishing import WAITS, LabelLatency


def test_every_wait_is_counted_up_to_its_length_and_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    latency = LabelLatency()
    assert set(latency.histogram().values()) == {0}
    for number, wait in enumerate((0.2, 0.25, 3.0, 1000.0), 1):
        latency.arrived(number)
        now[0] += wait
        latency.published(number)
    found = latency.histogram()
    assert list(found) == [*map(str, WAITS), "+Inf", "sum"]
    assert [found[upto] for upto in ("0.1", "0.25", "2.0", "4.0", "300.0", "+Inf")] == [0, 2, 2, 3, 3, 4]
    assert found["sum"] == pytest.approx(1003.45)


def test_labels_that_one_queue_ends_the_wait_of_are_counted_each() -> None:
    latency = LabelLatency()
    for number in (1, 2, 3):
        latency.arrived(number)
    latency.published(2)
    assert latency.histogram()["+Inf"] == 2
    latency.published(3)
    assert latency.histogram()["+Inf"] == 3
