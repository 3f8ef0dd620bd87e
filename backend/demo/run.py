"""``nextlabel demo``: a real Label Studio, a real backend beside it, three simulated annotators, and the figures.

Everything is reached the way a user reaches it: the backend is ``nextlabel run`` in a process of its own, the
annotators speak HTTP to Label Studio, the figures come from ``/api/status``, the store, and Label Studio's export.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from nextlabel.backend.recipe import Recipe
from nextlabel.backend.stack.annotator import Annotator
from nextlabel.backend.stack.label_studio import LabelStudioServer, LabelStudioStack
from nextlabel.backend.stack.processes import free_port, start_group, started_at, stop_group, wait_until
from nextlabel.connectors.errors import ConfigError, PlatformError

from .annotators import Quota, SimulatedAnnotator
from .figures import Figures, measure

ERROR_RATES = (0.0, 0.0, 0.1)
"""One of the three simulated annotators gives a wrong answer one time in ten."""
READY_WITHIN = 600.0
SETTLED_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run. ``home`` holds the demo's store, pictures and logs; the recipe has to know the true labels."""

    recipe: Recipe
    home: Path
    labels: int = 200
    seed: int = 0
    keep: bool = False
    error_rates: Sequence[float] = ERROR_RATES


@dataclass
class Running:
    """What is up: the platform, the backend beside it, and how to speak to both."""

    server: LabelStudioServer
    backend_url: str = ""
    backend_pid: int = 0
    api_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def status(self) -> dict[str, Any]:
        """The backend's ``/api/status``."""
        headers = {"Authorization": f"Bearer {self.api_token}"}
        reply = httpx.get(f"{self.backend_url}/api/status", headers=headers, timeout=10, trust_env=False)
        body: dict[str, Any] = reply.raise_for_status().json()
        return body

    def stop(self) -> None:
        """Stop both, by process group."""
        if self.backend_pid:
            stop_group(self.backend_pid)
        self.server.stop()


def run_demo(options: DemoOptions, console: Console) -> Figures:
    """Run the demo and return its figures. Raises ConfigError if a kept demo is still running."""
    began = time.monotonic()
    refuse_if_running(options.home)
    clear(options.home)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        platform = progress.add_task("Label Studio", total=1)
        stack = LabelStudioStack()
        server = stack.start(
            options.home / "label-studio",
            detach=options.keep,
            say=lambda text: progress.update(platform, description=f"Label Studio: {text}"),
        )
        progress.update(platform, completed=1, description=f"Label Studio at {server.url}")
        ours = time.monotonic()
        running = Running(server)
        try:
            start_backend(running, options)
            wait_ready(running, progress)
            label(running, options, progress)
            status = settle(running)
            figures = measure(options, server, status, progress)
        except BaseException:
            running.stop()
            raise
        figures = figures.timed(total=time.monotonic() - began, own=time.monotonic() - ours)
    if options.keep:
        remember(running, options.home)
    else:
        running.stop()
    return figures


def start_backend(running: Running, options: DemoOptions) -> None:
    """``nextlabel run`` in a process group of its own, told by environment variables alone."""
    port = free_port()
    running.backend_url = f"http://127.0.0.1:{port}"
    settings = {
        "NEXTLABEL_HOME": str(options.home),
        "NEXTLABEL_PORT": str(port),
        "NEXTLABEL_API_TOKEN": running.api_token,
        "LABEL_STUDIO_URL": running.server.url,
        "LABEL_STUDIO_API_KEY": running.server.token,
    }
    command = [sys.executable, "-m", "nextlabel.backend.cli", "run", options.recipe.name, "--seed", str(options.seed)]
    log = options.home / "backend.log"
    process = start_group(command, {**os.environ, **settings}, options.home, log)
    running.backend_pid = process.pid

    def healthy() -> bool:
        try:
            return httpx.get(f"{running.backend_url}/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    wait_until(healthy, process, "the backend", log, limit_s=120)


def wait_ready(running: Running, progress: Progress) -> None:
    """Show the backend's own progress until the first queue is published."""
    bars: dict[str, Any] = {}
    deadline = time.monotonic() + READY_WITHIN
    while not (status := running.status())["generation"]:
        if time.monotonic() > deadline:
            raise PlatformError(f"no queue after {READY_WITHIN:.0f} s: {status['last_error']}", status=504)
        if status["total"]:
            if status["state"] not in bars:
                bars[status["state"]] = progress.add_task(f"Backend: {status['state']}", total=status["total"])
            progress.update(bars[status["state"]], completed=status["done"], total=status["total"])
        time.sleep(0.2)
    for bar in bars.values():
        progress.update(bar, completed=progress.tasks[bar].total)


def label(running: Running, options: DemoOptions, progress: Progress) -> None:
    """Let the simulated annotators give the labels, each as a Label Studio user of their own."""
    project = running.status()["project"]["id"]
    bar = progress.add_task("Annotators: labels given", total=options.labels)
    quota, answers = Quota(options.labels), options.recipe.truth()
    annotators = []
    for number, error_rate in enumerate(options.error_rates):
        token = running.server.add_user(f"annotator{number + 1}@example.com")
        client = Annotator(running.server.url, token, project)
        rng = np.random.default_rng([options.seed, number])
        annotators.append(SimulatedAnnotator(client, answers, error_rate, quota, rng, lambda: progress.advance(bar)))
    for annotator in annotators:
        annotator.start()
    for annotator in annotators:
        annotator.join()
    for annotator in annotators:
        if annotator.failure is not None:
            raise annotator.failure


def settle(running: Running) -> dict[str, Any]:
    """Wait until every label given is in the log and in the queue; return the status then."""
    deadline = time.monotonic() + SETTLED_WITHIN
    previous = -1
    while True:
        status = running.status()
        if status["log_head"] == status["generation_log_head"] == previous:
            return status
        if time.monotonic() > deadline:
            raise PlatformError(f"the queue lags behind the labels: {status['last_error']}", status=504)
        previous = status["log_head"]
        time.sleep(0.5)


# -- demos that are kept running -------------------------------------------------------------------------------------


def clear(home: Path) -> None:
    """Forget the last demo; keep what is slow to make again (embeddings, exported encoders)."""
    home.mkdir(parents=True, exist_ok=True)
    for path in home.iterdir():
        if path.name not in {"embeddings", "encoders"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remember(running: Running, home: Path) -> None:
    """Leave a note of what is running, for ``--stop``."""
    pids = {str(pid): started_at(pid) for pid in (running.backend_pid, running.server.pid)}
    (home / "running.json").write_text(
        json.dumps({"pids": pids, "backend": running.backend_url, "platform": running.server.url})
    )


def refuse_if_running(home: Path) -> None:
    """Raise ConfigError if a kept demo is up."""
    note = home / "running.json"
    if note.exists():
        pids = json.loads(note.read_text())["pids"]
        if any(started_at(int(pid)) == start for pid, start in pids.items()):
            raise ConfigError("a demo is still running; stop it first: nextlabel demo --stop")


def stop_kept(home: Path) -> bool:
    """Stop a kept demo; False if there is none."""
    note = home / "running.json"
    if not note.exists():
        return False
    for pid, start in json.loads(note.read_text())["pids"].items():
        if started_at(int(pid)) == start:  # a process id may have been given to somebody else since
            stop_group(int(pid))
    note.unlink()
    return True
