"""The backend is killed again and again while people label and webhooks get lost. No label may be, nor count twice."""

from __future__ import annotations

import csv
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import free_port
from nextlabel.backend.store import Store
from tests.crash.chaos import ChaosProxy

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

KILLS = 50
UPTIME = (0.3, 6.0)  # seconds between start and kill: some die while starting, some in the middle of publishing
TEXTS = 900
LABELS = ["animal", "plant", "stone"]


class RestlessAnnotator(threading.Thread):
    """Labels, and now and then changes its mind, deletes an answer, or skips."""

    def __init__(self, client: Annotator, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._random, self._stop_event = client, random.Random(seed), stop
        self.done: Counter[str] = Counter()
        self.failures: list[Exception] = []

    def run(self) -> None:
        given: list[Any] = []
        while not self._stop_event.wait(self._random.uniform(0.2, 0.8)):
            try:
                task = self._client.next_task()
                if task is None:
                    return
                self._client.open(task)
                dice = self._random.random()
                if dice < 0.05:
                    self._client.skip(task)
                    self.done["skipped"] += 1
                    continue
                given.append(self._client.submit(task, self._random.choice(LABELS)))
                self.done["submitted"] += 1
                if dice > 0.9:
                    self._client.update(self._random.choice(given), self._random.choice(LABELS))
                    self.done["updated"] += 1
                elif dice > 0.85:
                    self._client.delete(given.pop(self._random.randrange(len(given))))
                    self.done["deleted"] += 1
            except Exception as error:
                self.failures.append(error)
                return


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    with (tmp_path / "texts.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text"])
        writer.writerows([f"number {i}: {['a cat', 'an oak', 'a pebble'][i % 3]} by the river"] for i in range(TEXTS))
    path = tmp_path / "crash.yaml"
    path.write_text(
        f"name: crash\nplatform: label-studio\ndata: {tmp_path / 'texts.csv'}\nfields: text\n"
        f"labels: [{', '.join(LABELS)}]\nencoder: hashing\n"
    )
    return path


@pytest.fixture
def victim(
    tmp_path: Path, recipe: Path, label_studio: LabelStudioServer
) -> Iterator[tuple[BackendProcess, ChaosProxy]]:
    port = free_port()
    with ChaosProxy(free_port(), f"http://127.0.0.1:{port}", seed=3) as proxy:
        backend = BackendProcess(
            str(recipe),
            label_studio,
            tmp_path / "home",
            port=port,
            public_url=proxy.url,
            env={"NEXTLABEL_POLL_INTERVAL_S": "2"},
        )
        backend.start()
        yield backend, proxy
        backend.kill()


def exported(server: LabelStudioServer, project: str) -> dict[str, tuple[str, ...]]:
    """Annotation id -> labels (none for a skip), by Label Studio's own export."""
    answer = httpx.get(
        f"{server.url}/api/projects/{project}/export",
        params={"exportType": "JSON", "download_all_tasks": "true"},
        headers={"Authorization": f"Token {server.token}"},
        timeout=120,
        trust_env=False,
    )
    return {
        str(one["id"]): () if one["was_cancelled"] else tuple(one["result"][0]["value"]["choices"])
        for task in answer.raise_for_status().json()
        for one in task["annotations"]
    }


def test_fifty_kills_lose_nothing_and_double_nothing(
    victim: tuple[BackendProcess, ChaosProxy], label_studio: LabelStudioServer, annotators: list[str], tmp_path: Path
) -> None:
    backend, proxy = victim
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
    submitted = sum(person.done["submitted"] for person in people)
    assert submitted > KILLS  # people did label all the while

    platform = exported(label_studio, project)

    def caught_up(status: dict[str, Any]) -> bool:
        with Store.open(tmp_path / "home" / "crash" / "store.sqlite") as store:
            seen = status["generation_log_head"] == status["log_head"]
            return bool(status["leader"]) and seen and {one.id for one in store.answers()} == set(platform)

    backend.wait(caught_up, "a log that equals the export")
    with Store.open(tmp_path / "home" / "crash" / "store.sqlite") as store:
        ours = [(one.id, tuple(str(label) for label in one.value)) for one in store.answers()]
    assert len({one for one, _ in ours}) == len(ours), "an annotation counts twice"
    assert dict(ours) == platform
    print(f"{KILLS} kills, {len(platform)} answers, webhooks: {dict(proxy.fates)}")
    assert proxy.fates["dropped"] > 0
    assert proxy.fates["repeated"] > 0
    assert proxy.fates["met a dead backend"] > 0
