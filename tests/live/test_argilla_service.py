"""The running service on a real Argilla: suggestions for all, records that people add, drafts, other opinions."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from nextlabel.backend.stack.backend import BackendProcess
from tests.live.argilla_calls import in_store
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("no_webhooks_left")

RECIPE = """\
name: argilla-service
data: reviews.csv
fields: review
id: number
labels: [good, bad]
encoder: hashing
opinions: 2
"""


@pytest.fixture
def product(argilla: ArgillaServer, argilla_users: list[str], tmp_path: Path) -> Iterator[BackendProcess]:
    lines = ["number,review"] + [f"n{n},review {n} is {'good' if n % 2 else 'bad'} indeed" for n in range(60)]
    (tmp_path / "reviews.csv").write_text("\n".join(lines) + "\n")
    recipe = tmp_path / "service.yaml"
    recipe.write_text(f"{RECIPE}title: service {secrets.token_hex(4)}\n")  # Argilla takes a title once
    env = {"NEXTLABEL_QUEUE_HEAD": "10", "NEXTLABEL_QUEUE_TAIL": "10", "NEXTLABEL_POLL_INTERVAL_S": "2"}
    process = BackendProcess(str(recipe), argilla, tmp_path / "home", env=env)
    process.start()
    yield process
    process.stop()


class Owner:
    """What somebody with the owner's key sees and does."""

    def __init__(self, server: ArgillaServer, dataset: str) -> None:
        self._path = f"{server.url}/api/v1/datasets/{dataset}/records"
        self._headers = {"X-Argilla-Api-Key": server.token}

    def records(self) -> dict[str, Any]:
        params: dict[str, str | int] = {"limit": 1000, "include": "suggestions"}
        reply = httpx.get(self._path, params=params, headers=self._headers, trust_env=False, timeout=30)
        return {item["id"]: item for item in reply.raise_for_status().json()["items"]}

    def add(self, text: str) -> str:
        body = {"items": [{"fields": {"text": text}}]}
        reply = httpx.post(f"{self._path}/bulk", json=body, headers=self._headers, trust_env=False, timeout=30)
        return str(reply.raise_for_status().json()["items"][0]["id"])


def test_every_open_record_gets_a_suggestion_and_added_ones_soon(
    product: BackendProcess, argilla: ArgillaServer
) -> None:
    project = product.wait_ready()["project"]["id"]
    owner = Owner(argilla, project)
    wait_for(
        lambda: sum(not item["suggestions"] for item in owner.records().values()) < 20, 60
    )  # head and tail make 20
    product.wait(lambda status: status["state"] == "idle", "suggestions for everything")
    assert any(not item["suggestions"] for item in owner.records().values()), "the audit slice is blind"
    added = [owner.add(f"this one is good, and new, {number}") for number in range(5)]
    started = time.monotonic()
    ours = wait_for(lambda: in_store(product.home / "argilla-service" / "store.sqlite", added))
    asked = [number for number, item in ours.items() if not item.audit]
    wait_for(lambda: all(owner.records()[number]["suggestions"] for number in asked))
    print(f"suggestions {time.monotonic() - started:.1f} s after the records were added")
    product.wait(lambda status: status["records"] == 65, "the added records in the pool")


def test_a_second_annotator_is_asked_first_and_the_first_one_is_not(
    product: BackendProcess, argilla: ArgillaServer, argilla_users: list[str]
) -> None:
    status = product.wait_ready()
    project = status["project"]["id"]
    status = product.wait(lambda status: {"annotator0", "annotator1"} <= status["links"].keys(), "links")
    first, second = (ArgillaAnnotator(argilla.url, key, project) for key in argilla_users[:2])
    links = [status["links"][f"annotator{number}"] for number in range(2)]

    begun = first.next(links[0])
    assert begun is not None
    first.draft(begun, "good")
    product.wait(lambda status: status["log_head"] == 1, "the draft")
    assert product.status()["labelled"] == 0
    answered = []
    for _ in range(3):
        record = first.next(links[0])
        assert record is not None
        answered.append(record)
        first.submit(record, "good")
    product.wait(lambda status: status["labelled"] == 3, "three labels")
    product.wait_settled()

    before = product.status()["generation"]
    line = [sys.executable, "-m", "nextlabel.backend.cli", "relabel", product.recipe, answered[1]["external_id"]]
    options = ["--url", product.url]
    env = {**os.environ, "NEXTLABEL_HOME": str(product.home), "NEXTLABEL_API_TOKEN": product.token}
    done = subprocess.run([*line, *options], capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    product.wait(lambda status: status["generation"] != before, "a queue with the record in it")

    def waiting(person: ArgillaAnnotator, link: str) -> list[Any]:
        return [record["id"] for record in person.pending(link, limit=100)[0]]

    wait_for(lambda: answered[1]["id"] in waiting(second, links[1])[:11])  # a page may hold ten records already
    asked = next(one for one in second.pending(links[1], limit=100)[0] if one["id"] == answered[1]["id"])
    assert not asked.get("suggestions"), "a second opinion is given blind"
    assert answered[1]["id"] not in waiting(first, links[0])
    second.submit(asked, "bad")
    product.wait(lambda status: status["log_head"] == 5, "the second answer")
    assert product.status()["labelled"] == 3
