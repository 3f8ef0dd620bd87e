"""People at work in the crash tests, and what Label Studio itself says was answered."""

from __future__ import annotations

import csv
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformError

LABELS = ["animal", "plant", "stone"]


def write_recipe(folder: Path, name: str, texts: int) -> Path:
    """A recipe over made-up sentences, all different; no model to load."""
    with (folder / "texts.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text"])
        writer.writerows([f"number {i}: {['a cat', 'an oak', 'a pebble'][i % 3]} by the river"] for i in range(texts))
    path = folder / f"{name}.yaml"
    path.write_text(f"data: texts.csv\nfields: text\nlabels: [{', '.join(LABELS)}]\nencoder: hashing\n")
    return path


class RestlessAnnotator(threading.Thread):
    """Labels, and now and then changes its mind, deletes an answer, or skips.

    ``patient``: a platform that is down is waited for, as a person would; otherwise it is a failure.
    """

    def __init__(self, client: Annotator, seed: int, stop: threading.Event, *, patient: bool = False) -> None:
        super().__init__(daemon=True)
        self._client, self._random, self._stop_event = client, random.Random(seed), stop
        self._patient = patient
        self._given: list[Any] = []
        self.done: Counter[str] = Counter()
        self.failures: list[Exception] = []

    def run(self) -> None:
        while not self._stop_event.wait(self._random.uniform(0.2, 0.8)):
            try:
                if not self._one():
                    return
            except (httpx.TransportError, PlatformError) as error:
                if not self._patient:
                    self.failures.append(error)
                    return
                self.done["waited"] += 1

    def _one(self) -> bool:
        task = self._client.next_task()
        if task is None:
            return False
        self._client.open(task)
        dice = self._random.random()
        if dice < 0.05:
            self._client.skip(task)
            self.done["skipped"] += 1
            return True
        self._given.append(self._client.submit(task, self._random.choice(LABELS)))
        self.done["submitted"] += 1
        if dice > 0.9:
            self._client.update(self._random.choice(self._given), self._random.choice(LABELS))
            self.done["updated"] += 1
        elif dice > 0.85:
            self._client.delete(self._given.pop(self._random.randrange(len(self._given))))
            self.done["deleted"] += 1
        return True


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


def logged(store: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Annotation id and labels of every answer that counts in our log."""
    with Store.open(store) as opened:
        return [(one.id, tuple(str(label) for label in one.value)) for one in opened.answers()]
