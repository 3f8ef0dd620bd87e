"""What leaves the machine, and what is left of a record that was deleted: the whole service, on a real Label Studio."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, at
from tests.live.label_studio_calls import api

WATCH = """
import os, sys

def watch(event, arguments):
    if event == "socket.connect":
        told = repr(arguments[1])
    elif event == "socket.getaddrinfo":
        told = repr(arguments[:2])
    else:
        return
    with open(os.environ["WATCHED"], "a") as file:
        file.write(told + "\\n")

sys.addaudithook(watch)
"""
TEXT = "Madame Exemple no {} asked to be erased"


def holding(home: Path, text: str) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_nothing_leaves_but_to_the_platform_and_what_is_deleted_there_is_erased(
    label_studio: LabelStudioServer, tmp_path: Path
) -> None:
    home, watched = tmp_path / "home", tmp_path / "watched"
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    rows = [f"{TEXT.format(n)},r{n}" for n in range(12)]
    (tmp_path / "data.csv").write_text("\n".join(["text,id", *rows]))
    recipe = tmp_path / "erased.yaml"
    recipe.write_text("data: data.csv\nid: id\nfields: text\nlabels: [bug, praise]\nencoder: hashing\n")
    more = {"PYTHONPATH": str(tmp_path), "WATCHED": str(watched), "NEXTLABEL_POLL_INTERVAL_S": "0.5"}
    product = BackendProcess(str(recipe), label_studio, home, env=more)
    product.start()
    try:
        project = product.wait_ready()["project"]["id"]
        tasks = api(label_studio, "GET", f"/api/tasks?project={project}&page_size=20&fields=all").json()["tasks"]
        numbers = {task["data"]["text"]: task["id"] for task in tasks}
        choice = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["bug"]}}
        api(label_studio, "POST", f"/api/tasks/{numbers[TEXT.format(3)]}/annotations", json={"result": [choice]})
        product.wait(at("labelled", 1), "the answer")
        product.wait_settled()
        assert sum(path.stat().st_mode & 0o077 for path in home.rglob("*") if path.name != "backend.log") == 0
        api(label_studio, "DELETE", f"/api/tasks/{numbers[TEXT.format(3)]}")
    finally:
        product.stop()
    there = urlsplit(label_studio.url)
    seen = watched.read_text().splitlines()
    assert seen
    assert set(seen) <= {f"({there.hostname!r}, {there.port})"}

    assert holding(home, TEXT.format(3))
    (vectors,) = home.rglob("vectors.f16")
    size = vectors.stat().st_size
    environment = {**os.environ, **label_studio.env(), "NEXTLABEL_HOME": str(home)}
    command = [sys.executable, "-m", "nextlabel.backend.cli", "forget", str(recipe), "r3"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "erased: text and metadata of 1 records (copies included), 1 vectors" in done.stderr
    assert holding(home, TEXT.format(3)) == []
    assert holding(home, TEXT.format(4))
    assert vectors.stat().st_size == size * 11 // 12
    refused = subprocess.run(
        [*command[:-1], "r4"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 1
    assert "delete r4 on the platform first" in refused.stderr
