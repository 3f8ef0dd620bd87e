"""Ctrl-C while ``nextlabel run`` is deep in its work, against a real Label Studio; and the next run goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.cli.ending import CODES
from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import wait_until
from tests.backend.tiny_bert import tiny_bert
from tests.live.label_studio_calls import api

RECORDS = 40
RECIPE = f'''\
"""Work that never ends, at the moment that the environment names."""

import hashlib
import os
import threading
import time
from pathlib import Path

from nextlabel.backend.encoders.hashing import HashingEncoder
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.retraining.model import Learner
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Record


def texts():
    return [Record(str(n), {{"text": f"review {{n}}"}}) for n in range({RECORDS})]


recipe = Recipe(name="endless", labels=("good", "bad"), encoder="hashing", records=texts)
push, encode = LabelStudioConnector.push, HashingEncoder.encode


def forever(*_, **__):
    Path("there").touch()
    time.sleep(600)


def forever_elsewhere(self, texts):
    return encode(self, texts) if threading.current_thread() is threading.main_thread() else forever()


def deaf(*_, **__):
    threading.Timer(0.5, Path("there").touch).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def half(self, records, progress, answers):
    push(self, records[: len(records) // 2])
    forever()


match os.environ.get("MOMENT"):
    case "opening a model":
        Learner.cold_start = deaf
    case "encoding":
        HashingEncoder.encode = forever_elsewhere
    case "pushing":
        LabelStudioConnector.push = half
    case "publishing":
        LabelStudioConnector.publish = forever
'''

TRAINED = """\
project: '{project}'
encoder: tiny
engine: torch
max_length: 32
training: {{rung: fine-tune, start_at: 10, epochs: 100000, patience: 0}}
"""
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="good"/><Choice value="bad"/></Choices></View>'
)


@pytest.fixture
def product(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    (tmp_path / "endless.py").write_text(RECIPE)
    process = BackendProcess(str(tmp_path / "endless.py"), label_studio, tmp_path)
    yield process
    process.stop()


def interrupted(product: BackendProcess, moment: str, number: signal.Signals = signal.SIGINT) -> str:
    """Run until ``moment``, press Ctrl-C, or send another signal; what was said since."""
    product.env = {"MOMENT": moment}
    product.start()
    process = product._process
    assert process is not None
    there = product.home / "there"
    wait_until(there.exists, process, moment, product.log, 60)
    told = pressed(product, moment, number)
    there.unlink()
    return told


def pressed(product: BackendProcess, moment: str, number: signal.Signals = signal.SIGINT) -> str:
    """Press Ctrl-C, or send another signal; what was said since."""
    process = product._process
    assert process is not None
    said = product.log.stat().st_size
    process.send_signal(number)
    began = time.monotonic()
    assert process.wait(60) == CODES[number]
    print(f"{moment}: ended in {time.monotonic() - began:.2f} s")
    return product.log.read_text()[said:]


@pytest.mark.parametrize("moment", ["opening a model", "encoding", "publishing"])
def test_work_that_does_not_end_is_left(product: BackendProcess, moment: str) -> None:
    said = interrupted(product, moment)
    assert "ending; what is not finished goes on at the next start" in said
    assert "Traceback" not in said
    assert '"level": "error"' not in said


@pytest.mark.parametrize("moment", ["encoding", "pushing"])
def test_it_ends_in_time_for_whoever_stops_services(product: BackendProcess, moment: str) -> None:
    """Compose kills ten seconds after it asks, Kubernetes thirty: LIMITS in cli/ending.py has the time."""
    interrupted(product, moment, signal.SIGTERM)


def test_nothing_is_pushed_twice_and_the_next_run_leads_at_once(product: BackendProcess) -> None:
    interrupted(product, "pushing")
    product.env = {}
    product.start()
    status = product.wait_ready()
    assert status["pushed"] == RECORDS
    assert "another process leads" not in product.log.read_text()
    url, headers = f"{product.server.url}/api/projects/{status['project']['id']}", {}
    headers["Authorization"] = f"Token {product.server.token}"
    assert httpx.get(url, headers=headers, trust_env=False, timeout=30).json()["task_number"] == RECORDS
    assert product._process is not None
    product._process.send_signal(signal.SIGINT)
    assert product._process.wait(60) == 130


@pytest.fixture
def trainer(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    """Attached to a project with answers enough to train on, for longer than anybody waits."""
    tiny_bert(tmp_path / "tiny")
    body = {"title": "trained, and interrupted", "label_config": CONFIG}
    project = api(label_studio, "POST", "/api/projects/", json=body).json()["id"]
    region = {"from_name": "label", "to_name": "text", "type": "choices"}
    answers = [{**region, "value": {"choices": [("good", "bad")[n % 2]]}} for n in range(RECORDS)]
    tasks = [{"data": {"text": f"word{n}"}, "annotations": [{"result": [one]}]} for n, one in enumerate(answers)]
    api(label_studio, "POST", f"/api/projects/{project}/import", json=[*tasks, {"data": {"text": "word199"}}])
    (tmp_path / "trained.yaml").write_text(TRAINED.format(project=project))
    process = BackendProcess("trained.yaml", label_studio, tmp_path)
    yield process
    process.stop()


def test_a_training_ends_with_it_and_goes_on_at_the_next_start(trainer: BackendProcess) -> None:
    """By another process: a folder in which one trains is locked, so the first has ended."""
    trained_by = []
    for _ in range(2):
        trainer.start()
        status = trainer.wait(lambda status: status["training"].get("stage") == "training", "a training", 300)
        assert status["labelled"] == RECORDS
        trained_by.append(status["training"]["pid"])
        said = pressed(trainer, "training")
        assert "Traceback" not in said
        assert '"level": "error"' not in said
    assert len(set(trained_by)) == 2
