"""Likely wrong answers go back into the queue on real platforms, blind, and what others change is told afterwards."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaServer, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from tests.waiting import wait_for

pytest.importorskip("cleanlab")

RECIPE = """\
data: reviews.csv
fields: review
id: number
labels: [good, bad]
encoder: hashing
audit_share: 0
opinions: 2
"""
ANSWERS, WRONG = 16, 5
"""Answers that the first person gives, and which of them is wrong."""
SOON = 18
"""Places of a queue of 60 among which the record is: a page may hold sixteen already, and answered ones stand last."""
OTHER = {"good": "bad", "bad": "good"}


def recipe(folder: Path, name: str) -> Path:
    lines = ["number,review"]
    for at in range(60):
        words = ("lovely", "splendid", "superb") if at % 2 else ("awful", "dreadful", "nasty")
        lines.append(f"n{at},the {words[at % 3]} meal {words[(at + 1) % 3]} place{at} was {words[2]}")
    (folder / "reviews.csv").write_text("\n".join(lines) + "\n")
    path = folder / "issues.yaml"
    path.write_text(f"name: {name}\ntitle: {name} {secrets.token_hex(4)}\n{RECIPE}")
    return path


def truth(text: str) -> str:
    return "good" if "superb" in text else "bad"


def issues(product: BackendProcess, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run ``nextlabel issues`` as a user beside the running service would: its JSON, and what it says."""
    line = [sys.executable, "-m", "nextlabel.backend.cli", "issues", product.recipe, *arguments, "--json"]
    env = {**os.environ, "NEXTLABEL_HOME": str(product.home), "NEXTLABEL_API_TOKEN": product.token}
    options = ["--url", product.url]
    done = subprocess.run([*line, *options], capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, done.stderr


@pytest.fixture
def on_label_studio(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    process = BackendProcess(str(recipe(tmp_path, "issues-ls")), label_studio, tmp_path / "home")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def on_argilla(argilla: ArgillaServer, argilla_users: list[str], tmp_path: Path) -> Iterator[BackendProcess]:
    env = {"NEXTLABEL_QUEUE_HEAD": "10", "NEXTLABEL_QUEUE_TAIL": "10", "NEXTLABEL_POLL_INTERVAL_S": "2"}
    process = BackendProcess(str(recipe(tmp_path, "issues-argilla")), argilla, tmp_path / "home", env=env)
    process.start()
    yield process
    process.stop()


def test_on_label_studio(on_label_studio: BackendProcess, annotators: list[str]) -> None:
    product = on_label_studio
    project = product.wait_ready()["project"]["id"]
    first, second = (Annotator(product.server.url, token, project) for token in annotators[:2])
    wrong = None
    for number in range(ANSWERS):
        task = first.next_task()
        assert task is not None
        right = truth(task["data"]["text"])
        wrong = task if number == WRONG else wrong
        first.submit(task, OTHER[right] if number == WRONG else right)
    assert wrong is not None
    product.wait(lambda status: status["labelled"] == ANSWERS, "the answers")
    product.wait_settled()

    before = product.status()["generation"]
    told, said = issues(product, "--top", "1", "--send")
    assert [one["uid"] for one in told["issues"]] == [wrong["data"]["nextlabel_uid"]]
    assert "1 records will be answered by one person more" in said
    product.wait(lambda status: status["generation"] != before, "a queue with the record in it")
    assert issues(product)[0]["asked_again"] == {"asked": 1, "answered": 0, "changed": 0, "kept": 0}

    asked = second.next_task()
    assert asked is not None
    assert asked["id"] == wrong["id"]
    assert [one["result"] for one in asked["predictions"]] == [[]], "without a suggestion"
    second.submit(asked, truth(asked["data"]["text"]))
    product.wait(lambda status: status["log_head"] == ANSWERS + 1, "the second answer")
    assert issues(product)[0]["asked_again"] == {"asked": 1, "answered": 1, "changed": 1, "kept": 0}


@pytest.mark.usefixtures("no_webhooks_left")
def test_on_argilla(on_argilla: BackendProcess, argilla: ArgillaServer, argilla_users: list[str]) -> None:
    product = on_argilla
    project = product.wait_ready()["project"]["id"]
    status = product.wait(lambda status: {"annotator0", "annotator1"} <= status["links"].keys(), "links")
    first, second = (ArgillaAnnotator(argilla.url, key, project) for key in argilla_users[:2])
    links = [status["links"][f"annotator{number}"] for number in range(2)]
    wrong = None
    for number in range(ANSWERS):
        record = first.next(links[0])
        assert record is not None
        right = truth(record["fields"]["text"])
        wrong = record if number == WRONG else wrong
        first.submit(record, OTHER[right] if number == WRONG else right)
    assert wrong is not None
    product.wait(lambda status: status["labelled"] == ANSWERS, "the answers")
    product.wait_settled()

    before = product.status()["generation"]
    told, _ = issues(product, "--top", "1", "--send")
    assert [one["uid"] for one in told["issues"]] == [wrong["external_id"]]
    product.wait(lambda status: status["generation"] != before, "a queue with the record in it")

    def pending() -> dict[str, Any]:
        return {one["id"]: one for one in second.pending(links[1], limit=100)[0][:SOON]}

    wait_for(lambda: wrong["id"] in pending())
    asked = pending()[wrong["id"]]
    assert not asked.get("suggestions"), "without a suggestion"
    second.submit(asked, truth(asked["fields"]["text"]))
    product.wait(lambda status: status["log_head"] == ANSWERS + 1, "the second answer")
    assert issues(product)[0]["asked_again"] == {"asked": 1, "answered": 1, "changed": 1, "kept": 0}
