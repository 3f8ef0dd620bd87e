"""The commands of a page of the documentation, run one after the other in a folder, as a reader would.

- A fenced block without a language holds commands. ``nextlabel run`` and ``nextlabel serve`` go on while others are
  given; another such line, or ``Ctrl-C`` in the prose, ends them.
- A block of ``yaml`` whose first line is ``# NAME`` is written to that file.
- A block of ``text`` is what the commands above it show: its lines in this order, others may stand between them, and
  ``...`` is anything.
- ``<!-- people label N -->``, which no reader sees: that many records are answered on the platform.

What a page can't know is put in: the server's address, its key, and a free port.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import start_group, wait_until
from nextlabel.backend.stack.server import PlatformServer

STEPS = re.compile(
    r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|^<!-- people label (?P<people>\d+) -->$|(?P<ended>Ctrl-C)",
    re.DOTALL | re.MULTILINE,
)
LIMIT_S = 240
"""Of one command: many times what any takes on a quiet machine."""


def steps(page: str) -> Iterator[tuple[str, str]]:
    """What is to be done, in order: (commands, lines), (file, text), (shows, lines), (people, number), (ended, "")."""
    for found in STEPS.finditer(page):
        language, block = found["language"], found["block"]
        if block is None:
            yield ("people", found["people"]) if found["people"] else ("ended", "")
        elif language == "text":
            yield "shows", block
        elif language == "yaml":
            assert block.startswith("# "), f"the first line of a block of yaml names its file: {block}"
            yield "file", block
        else:
            assert not language, f"a block of {language}: commands have no language, what they show is text"
            yield "commands", block


def commands(block: str) -> list[str]:
    """The lines of ``block``, those that end in a backslash joined with the next."""
    return [line for line in block.replace("\\\n", "").splitlines() if line.strip()]


def missing(shown: str, output: str) -> str:
    """The first line of ``shown`` that ``output`` lacks, or has before one that stands above it; empty if none."""
    rest = _plain(output)
    for line in filter(None, map(_plain, shown.splitlines())):
        if line == "...":
            continue
        found = re.search(r".*?".join(map(re.escape, line.split("..."))), rest)
        if found is None:
            return line
        rest = rest[found.end() :]
    return ""


def _plain(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


@dataclass
class Reader:
    """Somebody who does what a page says, in ``folder``, with a ``server``; ``programs`` is what is on PATH before all.

    ``people`` answers so many records of a project of the platform, given its number and how many.
    """

    folder: Path
    server: PlatformServer
    programs: Path
    people: Callable[[BackendProcess, int], None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.service = BackendProcess("", self.server, self.folder)
        self._exports: list[str] = []
        self._running: subprocess.Popen[bytes] | None = None
        self.output = ""

    def environment(self) -> dict[str, str]:
        """What a shell has, and a port of its own; nothing is asked of the hub or of a package index."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        ours = {"NEXTLABEL_PORT": str(self.service.port), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return clean | ours | offline | {"PATH": f"{self.programs}:{os.environ['PATH']}"} | dict(self.env)

    def filled_in(self, lines: str) -> str:
        """``lines`` with this server's address and key, and our port."""
        text = lines.replace("http://localhost:8080", self.server.url).replace("http://localhost:6900", self.server.url)
        text = text.replace("localhost:9090", f"127.0.0.1:{self.service.port}")
        return re.sub(r"\b(LABEL_STUDIO|ARGILLA)_API_KEY=\.\.\.", rf"\1_API_KEY={self.server.token}", text)

    def read(self, page: str) -> None:
        """Do all of it. Raises AssertionError where a command fails, or does not show what the page says."""
        for what, text in steps(page):
            if what == "file":
                (self.folder / text.splitlines()[0].removeprefix("# ")).write_text(text)
            elif what == "commands":
                self.output = "".join(map(self.do, commands(text)))
            elif what == "shows":
                lacks = missing(text, self.output)
                assert not lacks, f"the page shows {lacks!r}; it was\n{self.output}"
            elif what == "people":
                assert self.people is not None
                self.people(self.service, int(text))
            else:
                self.interrupt()
        self.interrupt()

    def do(self, line: str) -> str:
        """Give one command line; what it printed. One that goes on is left when it is ready."""
        line = self.filled_in(line)
        if line.startswith("export "):
            self._exports.append(line)
            return ""
        if re.match(r"nextlabel (run|serve)\b", line):
            return self.start(line)
        command = ["bash", "-ec", "\n".join([*self._exports, line])]
        done = subprocess.run(
            command, env=self.environment(), cwd=self.folder, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}{self.log()}"
        return done.stdout + done.stderr

    def start(self, line: str) -> str:
        """Start a service, and wait until it answers for its first queue or its model."""
        self.interrupt()
        # `exec`, as a terminal's Ctrl-C reaches the program and not the shell alone.
        command = ["bash", "-ec", "\n".join([*self._exports, f"exec {line}"])]
        self.service.log.unlink(missing_ok=True)
        running = self._running = start_group(command, self.environment(), self.folder, self.service.log)
        self.service._process = running
        kept = self.folder / ".nextlabel" / "secrets.json"
        wait_until(kept.exists, running, "nextlabel", self.service.log, LIMIT_S)
        self.service.token = json.loads(kept.read_text())["api_token"]
        if " --model " not in line:
            self.service.wait_ready(LIMIT_S)
        else:
            wait_until(self._answers, running, "nextlabel", self.service.log, LIMIT_S)
        return self.log()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.service.url}/ready", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def log(self) -> str:
        """What the service has said."""
        return self.service.log.read_text() if self.service.log.exists() else ""

    def interrupt(self) -> None:
        """Ctrl-C, if something runs; it ends in order."""
        running, self._running = self._running, None
        if running is not None:
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 130, self.log()
            assert "Traceback" not in self.log(), self.log()

    def stop(self) -> None:
        """End whatever still runs."""
        self.service.stop()
