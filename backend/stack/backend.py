"""``nextlabel run`` as a process of its own, told by environment variables alone: for the demo, tests, benchmarks."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from nextlabel.connectors.errors import PlatformUnavailable

from .processes import free_port, rest, start_group, stop_group, tail
from .server import PlatformServer

Status = dict[str, Any]


def past(name: str, number: int) -> Callable[[Status], bool]:
    """For :meth:`BackendProcess.wait`: whether the figure ``name`` of the status is greater."""
    return lambda status: bool(status[name] > number)


def at(name: str, number: int) -> Callable[[Status], bool]:
    """For :meth:`BackendProcess.wait`: whether the figure ``name`` of the status is exactly that."""
    return lambda status: bool(status[name] == number)


@dataclass
class BackendProcess:
    """A backend for ``recipe`` (a name or a YAML file) beside ``server``; everything it keeps is under ``home``.

    ``data`` is an absolute path in place of the recipe's own data. ``yes``: a project of others may grow.
    ``public_url`` is where the platform is told to find it, if something stands in between. ``python`` is the
    interpreter, another one to run another version of nextlabel. Start it again after a kill: it goes on where it was.
    """

    recipe: str
    server: PlatformServer
    home: Path
    seed: int = 0
    port: int = field(default_factory=free_port)
    public_url: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    env: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    python: str = sys.executable
    yes: bool = False

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.home / "backend.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, and process group id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; return at once."""
        self.home.mkdir(parents=True, exist_ok=True)
        settings = {
            "NEXTLABEL_HOME": str(self.home),
            "NEXTLABEL_PORT": str(self.port),
            "NEXTLABEL_API_TOKEN": self.token,
            "NEXTLABEL_PUBLIC_URL": self.public_url,
        }
        command = [self.python, "-m", "nextlabel.backend.cli", "run", self.recipe, "--seed", str(self.seed)]
        command += ["--platform", self.server.platform, *(["--data", self.data] if self.data else [])]
        command += ["--yes"] if self.yes else []
        environment = {**os.environ, **settings, **self.server.env(), **self.env}
        self._process = start_group(command, environment, self.home, self.log)

    def status(self) -> Status:
        """What ``/api/status`` answers. Raises httpx.HTTPError while nobody does."""
        headers = {"Authorization": f"Bearer {self.token}"}
        reply = httpx.get(f"{self.url}/api/status", headers=headers, timeout=10, trust_env=False)
        body: Status = reply.raise_for_status().json()
        return body

    def wait(self, until: Callable[[Status], object], what: str, limit_s: float = 120, every_s: float = 0.1) -> Status:
        """Poll the status until ``until`` holds for it, and return it; seldom where an answer takes long.

        Raises PlatformUnavailable with the end of the log if the process ends or ``limit_s`` seconds pass.
        """
        deadline = time.monotonic() + limit_s
        status: Status = {}
        while True:
            asked = time.monotonic()
            try:
                status = self.status()
            except httpx.HTTPError:
                if self._process is None or self._process.poll() is not None:
                    raise PlatformUnavailable(f"the backend ended; its log {self.log}:\n{tail(self.log)}") from None
            if status and until(status):
                return status
            if time.monotonic() > deadline:
                seen = status.get("last_error") or status.get("state")
                raise PlatformUnavailable(f"{what}: not in {limit_s:.0f} s ({seen}); log {self.log}:\n{tail(self.log)}")
            rest(asked, every_s, 1.0)

    def wait_ready(self, limit_s: float = 600) -> Status:
        """Wait for the first queue."""
        return self.wait(lambda status: status["generation"], "the first queue", limit_s)

    def wait_settled(self, limit_s: float = 60) -> Status:
        """Wait until the queue in force has seen every label in the log."""
        return self.wait(
            lambda status: status["generation"] and status["generation_log_head"] == status["log_head"],
            "a queue that has seen every label",
            limit_s,
        )

    def kill(self) -> None:
        """SIGKILL, without warning, as a crash would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End it in an orderly way. May be called twice."""
        if self._process is not None:
            stop_group(self._process.pid, self._process)
