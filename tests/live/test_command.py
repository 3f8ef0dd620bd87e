"""The ``nextlabel`` command against real platforms: push, run, predict, status, doctor, export, stop."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import Annotator, ArgillaAnnotator
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import stop_group
from nextlabel.backend.stack.server import PlatformServer

RECIPE = """\
name: reviews
title: Reviews of the command test {title}
platform: {platform}
data: reviews.csv
fields: review
id: number
labels: {{good: a happy customer, bad: an angry customer}}
encoder: hashing
"""
KEYS = {"label-studio": "LABEL_STUDIO_API_KEY", "argilla": "NEXTLABEL_ARGILLA_API_KEY"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["label_studio", "argilla"])
def server(request: pytest.FixtureRequest) -> PlatformServer:
    found: PlatformServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def recipe(server: PlatformServer, tmp_path: Path) -> Path:
    lines = ["number,review"] + [f"{n},review {n} is {'good' if n % 2 else 'bad'} indeed" for n in range(40)]
    (tmp_path / "reviews.csv").write_text("\n".join([*lines, "40,review 1 is good indeed", "41,"]) + "\n")
    path = tmp_path / "reviews.yaml"
    path.write_text(RECIPE.format(platform=server.platform, title=secrets.token_hex(4)))  # Argilla takes a title once
    return path


@pytest.fixture
def product(recipe: Path, server: PlatformServer, tmp_path: Path) -> Iterator[BackendProcess]:
    process = BackendProcess(str(recipe), server, tmp_path / "home")
    yield process
    process.stop()


@pytest.fixture
def command(product: BackendProcess, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``nextlabel`` as a user beside the running service would."""
    settings = {
        "NEXTLABEL_HOME": str(product.home),
        "NEXTLABEL_PORT": str(product.port),
        "NEXTLABEL_API_TOKEN": product.token,
        "COLUMNS": "300",
        **product.server.env(),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "nextlabel.backend.cli", *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=product.home.parent)

    return run


def truth(text: str) -> str:
    return "good" if "good" in text else "bad"


def label(product: BackendProcess, count: int) -> None:
    """Answer what comes first, as the owner of the key, at the address that `status` names."""
    server, project = product.server, product.status()["project"]
    if server.platform == "argilla":
        with ArgillaAnnotator(server.url, server.token, project["id"]) as person:
            for _ in range(count):
                record = person.next(project["link"])
                assert record is not None
                person.submit(record, truth(record["fields"]["text"]))
        return
    with Annotator(server.url, server.token, project["id"]) as person:
        for _ in range(count):
            task = person.next_task()
            assert task is not None
            person.submit(task, truth(task["data"]["text"]))


def test_from_push_to_export(product: BackendProcess, command: Run, recipe: Path, tmp_path: Path) -> None:
    pushed = command("push", str(recipe))
    assert pushed.returncode == 0, pushed.stderr
    assert "41 new records (1 of them copies)" in pushed.stderr
    assert "1 line without text, left out (line 43)" in pushed.stderr

    product.start()
    status = product.wait_ready()
    assert f"label here:  {status['project']['link']}" in product.log.read_text()
    links = product.wait(lambda status: status["links"] or status["project"]["platform"] != "argilla", "links")["links"]
    assert bool(links) == (product.server.platform == "argilla")
    for name, link in links.items():
        assert f"{name}: {link}" in pushed.stderr
        assert f"{name}: {link}" in product.log.read_text()
    again = command("push", str(recipe))
    assert again.returncode == 1
    assert "another nextlabel runs on this store" in again.stderr

    label(product, 10)
    product.wait(lambda status: status["labelled"] == 10, "ten labels")
    product.wait_settled()

    status = json.loads(command("status", "--json").stdout)
    assert (status["labelled"], status["records"], status["pushed"]) == (10, 40, 40)
    named = product.wait(lambda status: product.server.user in status["answers"], "the annotator's name")
    assert named["answers"] == {product.server.user: 10}
    shown = command("status").stdout
    assert f"10 ({product.server.user} 10), 0 skipped" in shown
    for name, link in links.items():
        assert f"link: {name} " in shown
        assert link in shown
    assert json.loads(command("models", "list", str(recipe), "--json").stdout)[0]["current"]

    answer = httpx.post(
        f"{product.url}/api/predict",
        json={"text": "review 100 is good indeed"},
        headers={"Authorization": f"Bearer {product.token}"},
        trust_env=False,
        timeout=30,
    )
    assert answer.json()["predictions"][0]["label"] in ("good", "bad")

    exported = command("export", str(recipe), "-o", str(tmp_path / "out.jsonl"))
    assert exported.returncode == 0, exported.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(row["answer"] == [truth(row["field.text"])] for row in rows)
    assert len([row for row in rows if row["copy_of"] is None]) == 10

    assert command("export", str(recipe), "-o", str(tmp_path / "each.jsonl"), "--each").returncode == 0
    given = [json.loads(line) for line in (tmp_path / "each.jsonl").read_text().splitlines()]
    assert {row["annotator"] for row in given} == {product.server.user}

    findings = json.loads(command("doctor", str(recipe), "--json").stdout)
    assert [one for one in findings if one["severity"] == "error"] == []

    process = product._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, "an orderly stop is no failure"
    stop_group(product.pid, process)
    log = product.log.read_text()
    for secret in (
        product.token,
        product.server.token,
        (json.loads((product.home / "secrets.json").read_text()))["ml_password"],
    ):
        assert secret not in log
    assert command("push", str(recipe)).returncode == 0, "the lease must have been handed back"


def test_a_wrong_token_is_one_line(
    product: BackendProcess, command: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS[product.server.platform], "0" * 40)
    done = command("push", str(recipe))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("server", ["label_studio"], indirect=True)
def test_a_project_of_another_kind_is_refused(product: BackendProcess, command: Run, recipe: Path) -> None:
    config = '<View><Text name="text" value="$text"/><Rating name="label" toName="text"/></View>'
    made = httpx.post(
        f"{product.server.url}/api/projects",
        json={"title": "ratings", "label_config": config},
        headers={"Authorization": f"Token {product.server.token}"},
        trust_env=False,
        timeout=30,
    )
    done = command("push", str(recipe), "--project", str(made.json()["id"]))
    assert done.returncode == 1
    assert "Rating" in done.stderr
