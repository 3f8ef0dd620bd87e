"""``nextlabel demo``: a real Label Studio, a real backend beside it, three simulated annotators, and the figures.

Everything is reached the way a user reaches it: the backend is ``nextlabel run`` in a process of its own, the
annotators speak HTTP to Label Studio, the figures come from ``/api/status``, the store, and Label Studio's export.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from nextlabel.backend.recipe import Recipe
from nextlabel.backend.stack.annotator import Annotator
from nextlabel.backend.stack.backend import BackendProcess, Status
from nextlabel.backend.stack.label_studio import LabelStudioStack
from nextlabel.backend.stack.processes import started_at, stop_group
from nextlabel.connectors.errors import ConfigError

from .annotators import Quota, SimulatedAnnotator
from .figures import Figures, measure

ERROR_RATES = (0.0, 0.0, 0.1)
"""One of the three simulated annotators gives a wrong answer one time in ten."""
READY_WITHIN = 600.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run. ``home`` holds the demo's store, pictures and logs; the recipe has to know the true labels."""

    recipe: Recipe
    home: Path
    labels: int = 200
    seed: int = 0
    keep: bool = False
    error_rates: Sequence[float] = ERROR_RATES


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
        backend = BackendProcess(options.recipe.name, server, options.home, seed=options.seed)
        try:
            backend.start()
            wait_ready(backend, progress)
            label(backend, options, progress)
            figures = measure(options, server, backend.wait_settled(), progress)
        except BaseException:
            backend.stop()
            server.stop()
            raise
        figures = figures.timed(total=time.monotonic() - began, own=time.monotonic() - ours)
    (options.home / "demo.json").write_text(figures.to_json() + "\n")
    if options.keep:
        remember(backend, options.home)
        tell(backend, console)
    else:
        backend.stop()
        server.stop()
    return figures


def wait_ready(backend: BackendProcess, progress: Progress) -> None:
    """Show the backend's own progress until the first queue is published."""
    bars: dict[str, TaskID] = {}

    def ready(status: Status) -> object:
        if status["total"]:
            if status["state"] not in bars:
                bars[status["state"]] = progress.add_task(f"Backend: {status['state']}", total=status["total"])
            progress.update(bars[status["state"]], completed=status["done"], total=status["total"])
        return status["generation"]

    backend.wait(ready, "the first queue", limit_s=READY_WITHIN, every_s=0.2)
    for bar in bars.values():
        progress.update(bar, completed=progress.tasks[bar].total)


def label(backend: BackendProcess, options: DemoOptions, progress: Progress) -> None:
    """Let the simulated annotators give the labels, each as a Label Studio user of their own."""
    project, server = backend.status()["project"]["id"], backend.server
    bar = progress.add_task("Annotators: labels given", total=options.labels)
    quota, answers = Quota(options.labels), options.recipe.truth()
    annotators = []
    for number, error_rate in enumerate(options.error_rates):
        token = server.add_user(f"annotator{number + 1}@example.com")
        client = Annotator(server.url, token, project)
        rng = np.random.default_rng([options.seed, number])
        annotators.append(SimulatedAnnotator(client, answers, error_rate, quota, rng, lambda: progress.advance(bar)))
    for annotator in annotators:
        annotator.start()
    for annotator in annotators:
        annotator.join()
    for annotator in annotators:
        if annotator.failure is not None:
            raise annotator.failure


# -- demos that are kept running -------------------------------------------------------------------------------------


def clear(home: Path) -> None:
    """Forget the last demo; keep what is slow to make again (embeddings, exported encoders)."""
    home.mkdir(parents=True, exist_ok=True)
    for path in home.iterdir():
        if path.name not in {"embeddings", "encoders"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remember(backend: BackendProcess, home: Path) -> None:
    """Leave a note of what is running, for ``--stop``."""
    pids = {str(pid): started_at(pid) for pid in (backend.pid, backend.server.pid)}
    (home / "running.json").write_text(json.dumps({"pids": pids}))


def tell(backend: BackendProcess, console: Console) -> None:
    """Where to look, and how to log in."""
    server, project = backend.server, backend.status()["project"]
    console.print("\nEverything is left running. Label by hand, and watch the order change:")
    console.print(f"  label here     {project['link']}")
    console.print(f"  log in as      {server.email}  {server.password}")
    console.print(f"  the backend    {backend.url}/docs")
    console.print(f"  its token      {backend.token}")
    console.print("  stop it with   nextlabel demo --stop\n")


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
