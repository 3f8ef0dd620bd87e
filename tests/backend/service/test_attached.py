"""A project of others is attached: what its answers count for, through the whole service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.opening import open_service
from nextlabel.backend.service.ports import Status
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, SUBJECTS
from tests.waiting import wait_for

SIZE = 300


@pytest.fixture
def run(tmp_path: Path, platform: MemoryConnector) -> Callable[[], Status]:
    """Start on the platform, with a file that names its records by ids of its own; its status, once it has learned."""
    data = [Record(f"d{n}", {"text": text(n)}) for n in range(SIZE)]
    recipe = Recipe(name="pets", labels=LABELS, records=lambda: data, encoder="hashing")
    settings = Settings(home=tmp_path / "home", poll_interval_s=0.05, audit_share=0.2)

    def once() -> Status:
        service = open_service(recipe, settings, connector=platform)
        try:
            service.start()
            wait_for(lambda: service.status().generation_log_head == service.status().log_head > 0)
            return service.status()
        finally:
            service.stop()

    return once


def text(number: int) -> str:
    return f"{SUBJECTS[number % 3]} near house {number}"


def test_where_all_is_answered_some_answers_are_held_out(
    platform: MemoryConnector, run: Callable[[], Status], tmp_path: Path
) -> None:
    """They are measured by themselves, from the first start on and the same after a restart, and exported as such."""
    platform.pushed.update({f"r{n}": Record(f"memory:r{n}", {"text": text(n)}) for n in range(SIZE)})
    platform.annotate_all({f"r{n}": LABELS[n % 3] for n in range(SIZE)})
    first = run()
    assert len(platform.pushed) == SIZE, "nothing is doubled"
    assert (first.labelled, first.audit_labelled, first.audit) == (SIZE, 0, {})
    assert 30 < first.held_out["n"] < 90
    assert first.held_out["accuracy"] > 0.9
    again = run()
    assert again.held_out["n"] == first.held_out["n"]
    with Store.open(tmp_path / "home" / "pets" / "store.sqlite") as store:
        rows = list(record_rows(store, platform.labeling))
    assert len(rows) == SIZE
    assert sum(row["audit"] == "held-out" for row in rows) == first.held_out["n"]
