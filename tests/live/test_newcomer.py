"""The README's lines, as they stand there, in an environment that has what they install and nothing else.

What they can't know is put in: the server's address, its key, and a free port.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, at
from tests.bare_environment import ROOT, bare_environment, closure, copy_source, requirements
from tests.pages import Reader, commands

PART = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Use it on your data")[2]
INSTALL, RUN, RECIPE, LOOK = re.findall(r"^```(?:yaml)?\n(.*?)^```", PART, re.DOTALL | re.MULTILINE)
ANSWERED = 14
"""Of twenty: enough for every line, as some go to the audit."""
TICKETS = ("it crashes when I log in", "how do I print?", "lovely work", "nothing works since the update")


@pytest.fixture
def newcomer(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[Reader]:
    """A folder with the recipe of the README and its data; what the README installs is on PATH."""
    (tmp_path / "tickets.yaml").write_text(RECIPE)
    lines = [f"{n},{TICKETS[n % len(TICKETS)]} ({n})" for n in range(20)]
    (tmp_path / "tickets.csv").write_text("\n".join(["number,body", *lines]) + "\n")
    held = closure([*requirements("label-studio", "train"), "setuptools"])
    reader = Reader(tmp_path, label_studio, bare_environment(tmp_path / "venv", held, with_pip=True), label)
    yield reader
    reader.stop()


def label(service: BackendProcess, count: int) -> None:
    project = service.status()["project"]["id"]
    with Annotator(service.server.url, service.server.token, project) as person:
        for _ in range(count):
            task = person.next_task()
            assert task is not None
            person.submit(task, "bug" if "crashes" in task["data"]["text"] else "praise")
    service.wait(at("labelled", count), "the labels")


def test_the_lines_of_the_readme_run(newcomer: Reader, tmp_path: Path) -> None:
    source, shell = copy_source(tmp_path / "source"), newcomer.environment()
    installed = subprocess.run(["bash", "-ec", INSTALL], env=shell, cwd=source, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr + installed.stdout

    for line in commands(RUN):
        newcomer.do(line)
    label(newcomer.service, ANSWERED)
    shown = [newcomer.do(line) for line in commands(LOOK)]
    assert '"label":' in shown[-1], "the last line asks for a prediction"
    assert (tmp_path / "report.html").exists()
    newcomer.interrupt()
