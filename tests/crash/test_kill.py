"""The backend is killed again and again while people label and webhooks get lost. No label may be, nor count twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import free_port
from tests.crash.chaos import ChaosProxy
from tests.crash.people import RestlessAnnotator, exported, logged, write_recipe

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

KILLS = 50
UPTIME = (0.3, 6.0)  # seconds between start and kill: some die while starting, some in the middle of publishing


@pytest.fixture
def victim(tmp_path: Path, label_studio: LabelStudioServer) -> Iterator[tuple[BackendProcess, ChaosProxy]]:
    port = free_port()
    with ChaosProxy(free_port(), f"http://127.0.0.1:{port}", seed=3) as proxy:
        backend = BackendProcess(
            str(write_recipe(tmp_path, "crash", texts=1500)),
            label_studio,
            tmp_path / "home",
            port=port,
            public_url=proxy.url,
            env={"NEXTLABEL_POLL_INTERVAL_S": "2"},
        )
        backend.start()
        yield backend, proxy
        backend.kill()


def test_fifty_kills_lose_nothing_and_double_nothing(
    victim: tuple[BackendProcess, ChaosProxy], label_studio: LabelStudioServer, annotators: list[str], tmp_path: Path
) -> None:
    backend, proxy = victim
    store = tmp_path / "home" / "crash" / "store.sqlite"
    project = backend.wait_ready()["project"]["id"]
    stop = threading.Event()
    people = [
        RestlessAnnotator(Annotator(label_studio.url, token, project), i, stop) for i, token in enumerate(annotators)
    ]
    for person in people:
        person.start()
    dice = random.Random(11)
    for _ in range(KILLS):
        time.sleep(dice.uniform(*UPTIME))
        backend.kill()
        backend.start()
    stop.set()
    for person in people:
        person.join(60)
    assert [error for person in people for error in person.failures] == []
    assert sum(person.done["submitted"] for person in people) > KILLS  # people did label all the while

    platform = exported(label_studio, project)

    def caught_up(status: dict[str, Any]) -> bool:
        seen = status["generation_log_head"] == status["log_head"]
        return bool(status["leader"]) and seen and {one for one, _ in logged(store)} == set(platform)

    backend.wait(caught_up, "a log that equals the export")
    ours = logged(store)
    assert len({one for one, _ in ours}) == len(ours), "an annotation counts twice"
    assert dict(ours) == platform
    print(f"{KILLS} kills, {len(platform)} answers, webhooks: {dict(proxy.fates)}")
    assert proxy.fates["dropped"] > 0
    assert proxy.fates["repeated"] > 0
    assert proxy.fates["met a dead backend"] > 0
