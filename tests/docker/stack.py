"""The compose stack in a real Docker engine, as a person starts, kills, backs up and restores it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from nextlabel.backend.stack.backend import Status
from nextlabel.backend.stack.processes import free_port
from tests.deploy.stack_file import ROOT, fill_in, raw

MORE = shlex.split(os.environ.get("NEXTLABEL_DOCKER_BUILD", ""))
IMAGE = str(raw()["services"]["nextlabel"]["image"])
MINUTES = 60.0


def said_by(command: Sequence[str], limit_s: float = 5 * MINUTES, **options: Any) -> str:
    """What ``command`` prints. Raises AssertionError with what it complained of, if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, **options)
    assert done.returncode == 0, f"{shlex.join(command)}\n{(done.stderr + done.stdout)[-4000:]}"
    return done.stdout


def build(revision: str, folder: Path = ROOT) -> None:
    """Build the image from the Dockerfile of ``folder``, with the further options that NEXTLABEL_DOCKER_BUILD holds."""
    named = ["--build-arg", f"REVISION={revision}"]
    said_by(["docker", "build", "--quiet", "--tag", IMAGE, *named, *MORE, str(folder)], 60 * MINUTES)


@dataclass
class Stack:
    """One project of Compose: its profiles, and an .env of its own, with ports that are free here."""

    name: str
    folder: Path
    profiles: Sequence[str]
    recipe: str
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ports = {name: str(free_port()) for name in ("NEXTLABEL_PORT", "LABEL_STUDIO_PORT", "ARGILLA_PORT")}
        self.values = fill_in(self.folder) | ports | {"NEXTLABEL_RECIPE": self.recipe}
        self.values |= {
            "LABEL_STUDIO_ADDRESS": f"http://label-studio.localhost:{ports['LABEL_STUDIO_PORT']}",
            "ARGILLA_ADDRESS": f"http://argilla.localhost:{ports['ARGILLA_PORT']}",
            **{name: value.format(**self.values) for name, value in self.settings.items()},
        }
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.values.items()))

    @property
    def environment(self) -> dict[str, str]:
        """What makes ``docker compose``, as the docs write it, mean this project."""
        return os.environ | {
            "COMPOSE_FILE": str(ROOT / "docker-compose.yml"),
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_ENV_FILES": str(self.folder / ".env"),
            "COMPOSE_PROFILES": ",".join(self.profiles),
        }

    def compose(self, *arguments: str, limit_s: float = 5 * MINUTES) -> str:
        """What ``docker compose`` prints."""
        return self.shell(shlex.join(["docker", "compose", *arguments]), limit_s)

    def shell(self, lines: str, limit_s: float = 5 * MINUTES) -> str:
        """What ``lines`` print, run one after the other in this project's folder until one fails."""
        command = ["bash", "-euo", "pipefail", "-c", lines]
        return said_by(command, limit_s, cwd=self.folder, env=self.environment)

    def up(self, *services: str) -> None:
        """Start what does not run, and wait until all is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", *services, limit_s=15 * MINUTES)

    def down(self, *, volumes: bool = False) -> None:
        """Take the containers away; the ``volumes``, too, if said."""
        self.compose("down", *(["--volumes"] if volumes else []))

    def kill(self, *services: str) -> None:
        """As a power cut does: at once, with no word."""
        self.compose("kill", *services)

    def run(self, *command: str, service: str = "nextlabel") -> str:
        """What a command prints inside a running ``service``."""
        return self.compose("exec", "--no-TTY", service, *command)

    def container(self, service: str) -> str:
        """The id of the container that runs ``service``."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    @property
    def platform(self) -> str:
        """The platform's address on this machine, which need not know names below ``localhost``."""
        kind = "LABEL_STUDIO" if "label-studio" in self.profiles else "ARGILLA"
        return f"http://127.0.0.1:{self.values[f'{kind}_PORT']}"

    def status(self) -> Status:
        """What ``/api/status`` says. Raises httpx.HTTPError where the service does not answer."""
        headers = {"Authorization": f"Bearer {self.values['NEXTLABEL_API_TOKEN']}"}
        url = f"http://127.0.0.1:{self.values['NEXTLABEL_PORT']}/api/status"
        answer: Status = httpx.get(url, headers=headers, timeout=30, trust_env=False).raise_for_status().json()
        return answer

    def wait(self, until: Callable[[Status], object], what: str, limit_s: float = 3 * MINUTES) -> Status:
        """The first status of which ``until`` holds. Raises AssertionError with the log if it does not come."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            try:
                if until(status := self.status()):
                    return status
            except httpx.HTTPError:  # it starts
                pass
            time.sleep(0.2)
        log = self.compose("logs", "--tail", "50", "nextlabel")
        raise AssertionError(f"{what} did not come within {limit_s:.0f} s\n{log}")
