"""``nextlabel demo``: a real platform, a real backend beside it, three simulated annotators, and the figures.

Everything is reached the way a user reaches it: the backend is ``nextlabel run`` in a process of its own, the
annotators speak HTTP to the platform, the figures come from ``/api/status``, the store, and the platform's export.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from nextlabel.backend.questions import question_of
from nextlabel.backend.stack.backend import BackendProcess, Status
from nextlabel.backend.stack.processes import started_at, stop_group
from nextlabel.backend.stack.server import PlatformServer
from nextlabel.connectors.errors import ConfigError, PlatformUnavailable

from .annotators import PLATFORMS, DemoOptions, Quota, SimulatedAnnotator
from .figures import Figures, measure

READY_WITHIN = 600.0
TAKEN_IN_WITHIN = 120.0
"""How long the last labels may be on their way. What has not come by then is lost."""


def run_demo(options: DemoOptions, console: Console) -> Figures:
    """Run the demo and return its figures.

    Raises ConfigError if a kept demo is still running, the platform is none that we can start, or the recipe asks for
    spans.
    """
    began = time.monotonic()
    if question_of(options.recipe.labeling()).reads_tokens:
        raise ConfigError(
            f"{options.recipe.name} asks for spans, and the demo's simulated annotators answer with labels; take "
            "another recipe, or label yourself: nextlabel run"
        )
    if options.platform not in PLATFORMS:
        known = " or ".join(PLATFORMS)
        raise ConfigError(f"there is no demo for the platform {options.platform!r}; use {known}")
    if kept(options.home):
        raise ConfigError("a demo is still running; stop it first: nextlabel demo --stop")
    clear(options.home)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task(options.platform, total=1)
        server = (
            PLATFORMS[options.platform]
            .stack()
            .start(
                options.home / options.platform,
                detach=options.keep,
                say=lambda text: progress.update(bar, description=f"{options.platform}: {text}"),
            )
        )
        progress.update(bar, completed=1, description=f"{server.title} at {server.url}")
        ours = time.monotonic()
        backend = BackendProcess(options.recipe.name, server, options.home, seed=options.seed, data=options.recipe.data)
        try:
            tokens = add_users(server, options)
            backend.start()
            wait_ready(backend, progress)
            wait_taken_in(backend, label(backend, tokens, options, progress))
            figures = measure(options, server, backend.wait_settled(), progress)
        except BaseException:
            backend.stop()
            server.stop()
            raise
        total, own = (round(time.monotonic() - since, 1) for since in (began, ours))
        figures = replace(figures, seconds_total=total, seconds_own=own)
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


def add_users(server: PlatformServer, options: DemoOptions) -> dict[str, str]:
    """The annotators as users of the platform: name -> API token."""
    names = [PLATFORMS[server.platform].user.format(number) for number in range(1, len(options.error_rates) + 1)]
    return {name: server.add_user(name) for name in names}


def label(backend: BackendProcess, tokens: Mapping[str, str], options: DemoOptions, progress: Progress) -> int:
    """Let the simulated annotators give the labels, each as a user of their own; return how many were given."""
    status, server = backend.status(), backend.server
    bar = progress.add_task("Annotators: labels given", total=options.labels)
    quota, answers = Quota(options.labels), options.recipe.truth()
    annotators = []
    for number, ((name, token), error_rate) in enumerate(zip(tokens.items(), options.error_rates, strict=True)):
        person = PLATFORMS[server.platform](server, token, status["project"]["id"], status["links"].get(name, ""))
        rng = np.random.default_rng([options.seed, number])
        annotators.append(SimulatedAnnotator(person, answers, error_rate, quota, rng, lambda: progress.advance(bar)))
    for annotator in annotators:
        annotator.start()
    for annotator in annotators:
        annotator.join()
    for annotator in annotators:
        if annotator.failure is not None:
            raise annotator.failure
    return quota.given


def wait_taken_in(backend: BackendProcess, given: int) -> None:
    """Give the labels on their way time to arrive: a platform may deliver them one by one, a second each."""
    with contextlib.suppress(PlatformUnavailable):  # the figures will say how many are lost
        backend.wait(lambda status: status["log_head"] >= given, "the last label", TAKEN_IN_WITHIN)


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
    console.print(f"  log in as      {server.user}  {server.password}")
    console.print(f"  the backend    {backend.url}/docs")
    console.print(f"  its token      {backend.token}")
    console.print("  stop it with   nextlabel demo --stop\n")


def kept(home: Path) -> list[int]:
    """The process groups of a kept demo that still run."""
    note = home / "running.json"
    pids = json.loads(note.read_text())["pids"] if note.exists() else {}
    # A process id may have been given to somebody else since.
    return [int(pid) for pid, start in pids.items() if started_at(int(pid)) == start]


def stop_kept(home: Path) -> bool:
    """Stop a kept demo; False if there is none."""
    note = home / "running.json"
    if not note.exists():
        return False
    for pid in kept(home):
        stop_group(pid)
    note.unlink()
    return True
