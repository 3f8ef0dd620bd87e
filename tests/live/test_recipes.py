"""The recipes of the published formats, on made-up data: push, label, learn, predict, export, on both platforms."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import Annotator, ArgillaAnnotator
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.server import PlatformServer
from tests.recipes import made_up
from tests.size import both_in_long

RECORDS, LABELS = 24, 8
SMALL = """\
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.recipes.{module} import recipe as original

recipe = original.model_copy(
    update={{"title": "{title}", "encoder": "{encoder}", "engine": "auto", "training": TrainingSpec(rung="probe")}}
)
"""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> PlatformServer:
    found: PlatformServer = request.getfixturevalue(request.param)
    return found


def whole_loop(module: str, data: Path, encoder: str, server: PlatformServer, folder: Path) -> None:
    """A copy of the recipe with another encoder, run with --data until its model has learned from people's answers."""
    path = folder / "mine.py"
    path.write_text(SMALL.format(module=module, title=f"{module} {secrets.token_hex(4)}", encoder=encoder))
    product = BackendProcess(str(path), server, folder / "home", data=str(data))
    try:
        product.start()
        status = product.wait_ready()
        assert (status["records"], status["pushed"]) == (RECORDS, RECORDS)
        truth = {"0": made_up.ANSWERS[module][0], "1": made_up.ANSWERS[module][1]}
        given = label(product, truth)
        product.wait(lambda status: status["labelled"] == LABELS, "the answers")
        product.wait_settled()
        asked = {"records": [made_up.asked(module)]}
        headers = {"Authorization": f"Bearer {product.token}"}
        reply = httpx.post(f"{product.url}/api/predict", json=asked, headers=headers, trust_env=False, timeout=30)
        assert reply.json()["predictions"][0]["label"] in truth.values(), reply.text
    finally:
        product.stop()
    environment = {"NEXTLABEL_HOME": str(product.home), **server.env()}
    out = folder / "out.jsonl"
    export(path, out, environment)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["uid"]: row["answer"] for row in rows} == {uid: [answer] for uid, answer in given.items()}


def label(product: BackendProcess, truth: dict[str, str]) -> dict[str, str]:
    """Answer what comes first, by the digit that each text ends with: uid -> label."""
    project, given = product.status()["project"], {}
    if product.server.platform == "argilla":
        with ArgillaAnnotator(product.server.url, product.server.token, project["id"]) as person:
            for _ in range(LABELS):
                record = person.next(project["link"])
                assert record is not None
                given[record["external_id"]] = truth[record["fields"]["text"][-1]]
                person.submit(record, given[record["external_id"]])
        return given
    with Annotator(product.server.url, product.server.token, project["id"]) as person:
        for _ in range(LABELS):
            task = person.next_task()
            assert task is not None
            answer = truth[task["data"]["text"][-1]]
            person.submit(task, answer)
            given[task["data"]["nextlabel_uid"]] = answer
    return given


def export(recipe: Path, out: Path, environment: dict[str, str]) -> None:
    line = [sys.executable, "-m", "nextlabel.backend.cli", "export", str(recipe), "-o", str(out)]
    done = subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


studio_first = pytest.mark.parametrize("server", both_in_long("label_studio", "argilla"), indirect=True)
argilla_first = pytest.mark.parametrize("server", both_in_long("argilla", "label_studio"), indirect=True)


@studio_first
def test_hate_speech(server: PlatformServer, tmp_path: Path) -> None:
    whole_loop("hate_speech", made_up.vicomtech(tmp_path / "data", RECORDS), "hashing", server, tmp_path)


@argilla_first
def test_misogyny(server: PlatformServer, tmp_path: Path) -> None:
    whole_loop("misogyny_es", made_up.ami(tmp_path / "data", RECORDS), "hashing", server, tmp_path)


@studio_first
def test_memes(server: PlatformServer, tmp_path: Path) -> None:
    data = made_up.mami(tmp_path / "data", RECORDS)
    whole_loop("memes", data, "hashing+efficientnet-lite0", server, tmp_path)


@argilla_first
def test_politeness(server: PlatformServer, tmp_path: Path) -> None:
    whole_loop("politeness", made_up.politeness(tmp_path / "data", RECORDS), "hashing", server, tmp_path)


@studio_first
def test_rare_class(server: PlatformServer, tmp_path: Path) -> None:
    whole_loop("rare_class", made_up.comments(tmp_path / "data", RECORDS), "hashing", server, tmp_path)
