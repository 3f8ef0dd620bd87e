"""The README's lines, as they stand there, in an environment that has what they install and nothing else.

What they can't know is put in: the server's address, its key, and a free port.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, at
from nextlabel.backend.stack.processes import start_group, wait_until
from tests.bare_environment import ROOT, bare_environment, closure, copy_source, requirements

PART = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Use it on your data")[2]
INSTALL, RUN, RECIPE, LOOK = re.findall(r"^```(?:yaml)?\n(.*?)^```", PART, re.DOTALL | re.MULTILINE)
ANSWERED = 14
"""Of twenty: enough for every line, as some go to the audit."""
TICKETS = ("it crashes when I log in", "how do I print?", "lovely work", "nothing works since the update")


@pytest.fixture
def newcomer(label_studio: LabelStudioServer, tmp_path: Path) -> Iterator[BackendProcess]:
    """A folder with the recipe of the README; the service is started by the test."""
    (tmp_path / "tickets.yaml").write_text(RECIPE)
    lines = [f"{n},{TICKETS[n % len(TICKETS)]} ({n})" for n in range(20)]
    (tmp_path / "tickets.csv").write_text("\n".join(["number,body", *lines]) + "\n")
    service = BackendProcess("tickets.yaml", label_studio, tmp_path)
    yield service
    service.stop()


def environment(programs: Path, service: BackendProcess) -> dict[str, str]:
    """What a shell has after ``activate``, and a port of its own; pip finds all that it needs, and asks no index."""
    ours = {"NEXTLABEL_PORT": str(service.port), "COLUMNS": "200"}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return clean | ours | offline | {"PATH": f"{programs}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


def filled_in(lines: str, service: BackendProcess) -> str:
    """``lines`` with this server's address and key, and our port."""
    text = lines.replace("http://localhost:8080", service.server.url)
    text = text.replace("localhost:9090", f"localhost:{service.port}")
    return text.replace("LABEL_STUDIO_API_KEY=...", f"LABEL_STUDIO_API_KEY={service.server.token}")


def test_the_lines_of_the_readme_run(newcomer: BackendProcess, tmp_path: Path) -> None:
    held = closure([*requirements("label-studio", "train"), "setuptools"])
    programs = bare_environment(tmp_path / "venv", held, with_pip=True)
    shell = environment(programs, newcomer)
    source = copy_source(tmp_path / "source")
    installed = subprocess.run(["bash", "-ec", INSTALL], env=shell, cwd=source, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr + installed.stdout

    # `exec`, as a terminal's Ctrl-C reaches the program and not the shell alone.
    run = filled_in(RUN, newcomer).replace("nextlabel run", "exec nextlabel run")
    newcomer._process = running = start_group(["bash", "-ec", run], shell, tmp_path, newcomer.log)
    kept = tmp_path / ".nextlabel" / "secrets.json"
    wait_until(kept.exists, running, "nextlabel", newcomer.log, 60)
    newcomer.token = json.loads(kept.read_text())["api_token"]
    project = newcomer.wait_ready()["project"]["id"]
    with Annotator(newcomer.server.url, newcomer.server.token, project) as person:
        for _ in range(ANSWERED):
            task = person.next_task()
            assert task is not None
            person.submit(task, "bug" if "crashes" in task["data"]["text"] else "praise")
    newcomer.wait(at("labelled", ANSWERED), "the labels")
    export = f"export LABEL_STUDIO_URL={newcomer.server.url} LABEL_STUDIO_API_KEY={newcomer.server.token}\n"
    for line in filled_in(LOOK, newcomer).replace("\\\n", "").splitlines():
        command = ["bash", "-ec", export + line]
        done = subprocess.run(command, env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"  # whole: the doctor says what is wrong
    assert '"label":' in done.stdout, "the last line asks for a prediction"
    assert (tmp_path / "report.html").exists()
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert "Traceback" not in newcomer.log.read_text()
