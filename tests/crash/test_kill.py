"""The backend is killed again and again while people label and webhooks get lost. No label may be, nor count twice."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import free_ports
from tests.crash.chaos import ChaosProxy
from tests.crash.conftest import Site
from tests.crash.people import (
    check_log,
    check_told,
    dismiss,
    exported,
    hire,
    logged,
    offered_again,
    tally,
    write_recipe,
)
from tests.size import count

pytestmark = pytest.mark.timeout(1500)

KILLS = count(5, long=50, name="NEXTLABEL_KILLS")
MOST_KILLS = 50
STARTING_S, WORKING_S = (0.3, 2.0), (0.1, 3.5)
"""Every second one dies so long after its start; the others are at work, for so long: some die while they publish."""


@pytest.fixture
def victim(tmp_path: Path, site: Site) -> Iterator[tuple[BackendProcess, ChaosProxy]]:
    port, front = free_ports(2)
    with ChaosProxy(front, f"http://127.0.0.1:{port}", seed=3) as proxy:
        backend = BackendProcess(
            str(write_recipe(tmp_path, "crash", texts=1000)),
            site.server,
            tmp_path / "home",
            port=port,
            public_url=proxy.url,
            env={"NEXTLABEL_POLL_INTERVAL_S": "2"},
        )
        backend.start()
        yield backend, proxy
        backend.kill()


def test_kills_lose_nothing_and_change_nothing(
    victim: tuple[BackendProcess, ChaosProxy], site: Site, tmp_path: Path
) -> None:
    backend, proxy = victim
    store = tmp_path / "home" / "crash" / "store.sqlite"
    status = backend.wait_ready()
    project, stop = status["project"]["id"], threading.Event()
    people = hire(site.server, site.keys, status, stop)
    dice = random.Random(11)
    kills = 0
    while kills < KILLS or (kills < MOST_KILLS and not hard_times(proxy)):
        if kills % 2:
            backend.wait(lambda status: status["leader"], "a backend at work")
        time.sleep(dice.uniform(*(WORKING_S if kills % 2 else STARTING_S)))
        backend.kill()
        expire(store)
        backend.start()
        kills += 1
    dismiss(people, stop)
    done = tally(people)
    assert done["submitted"] > kills  # people did label all the while
    platform = exported(site.server, project)

    def caught_up(status: dict[str, Any]) -> bool:
        seen = status["generation_log_head"] == status["log_head"]
        return bool(status["leader"]) and seen and {one for one, _ in logged(store)} == set(platform)

    status = backend.wait(caught_up, "a log that equals the platform's list")
    print(f"{kills} kills, the newest queue is {status['generation']}; webhooks: {dict(proxy.fates)}")
    print(f"{len(platform)} answers, people: {dict(done)}")
    check_log(store, platform)
    check_told(people, platform)
    print(f"offered though answered: {offered_again(site.server, project, people)}")
    assert hard_times(proxy), proxy.fates


def hard_times(proxy: ChaosProxy) -> bool:
    """Whether webhooks have met with everything that can become of them."""
    return all(proxy.fates[fate] > 0 for fate in ("dropped", "repeated", "met a dead backend"))


def expire(store: Path) -> None:
    """Let the dead one's lease run out at once; the 15 seconds that it has left would only be waited for."""
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("DELETE FROM leases")
