"""Ctrl-C while ``nextlabel run`` is deep in its work, against a real Label Studio; and the next run goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import wait_until

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


def half(self, records, progress):
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


@pytest.fixture
def product(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    (tmp_path / "endless.py").write_text(RECIPE)
    process = BackendProcess(str(tmp_path / "endless.py"), label_studio, tmp_path)
    yield process
    process.stop()


def interrupted(product: BackendProcess, moment: str) -> str:
    """Run until ``moment``, press Ctrl-C; what was said since."""
    product.env = {"MOMENT": moment}
    product.start()
    process = product._process
    assert process is not None
    there = product.home / "there"
    wait_until(there.exists, process, moment, product.log, 60)
    said = product.log.stat().st_size
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    assert process.wait(60) == 130
    print(f"{moment}: ended in {time.monotonic() - pressed:.2f} s")
    there.unlink()
    return product.log.read_text()[said:]


@pytest.mark.parametrize("moment", ["opening a model", "encoding", "publishing"])
def test_work_that_does_not_end_is_left(product: BackendProcess, moment: str) -> None:
    said = interrupted(product, moment)
    assert "ending; what is not finished goes on at the next start" in said
    assert "Traceback" not in said
    assert '"level": "error"' not in said


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
