"""``train``: have the running service train the encoder, watch it, or cancel it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from nextlabel.connectors.errors import LearningError

from .common import AsJson, call, examples, print_json, say

EVERY_S = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("nextlabel train --wait", "nextlabel train --cancel"))(train)


def train(
    wait: Annotated[bool, typer.Option("--wait", help="Show how far it is until it has ended.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the training that runs.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Address of the service; http://HOST:PORT if not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the encoder now, however little the labels have grown.

    Needs the running service, which goes on answering meanwhile. Where a training runs already, or the records are
    being encoded for another model, it says so, and this one follows. The result is used if it is not worse. With
    --wait, the exit code is 1 if no model came of it.
    """
    from nextlabel.backend.settings import Settings

    address = url or Settings.load().address()
    if cancel:
        answer = call(address, "DELETE", "/api/train")
        say("cancelled" if answer["cancelled"] else "no training was running")
    else:
        call(address, "POST", "/api/train")
        answer = call(address, "GET", "/api/status")["training"]
        begins = answer.get("asked") or "the training has started"
        say(begins if wait else f"{begins}; see: nextlabel status")
        if wait:
            answer = _watch(address, _after(answer))
            say(answer.get("verdict", ""))
    if as_json:
        print_json(answer)
    if wait and not answer.get("made", True):
        raise typer.Exit(1)


def _after(training: Mapping[str, Any]) -> int:
    """How many trainings will have ended once the one that was asked for has."""
    return int(training["ended"]) + bool(training.get("asked")) + ("labels" in training)


def _watch(address: str, ended: int) -> dict[str, Any]:
    """A progress bar until so many trainings have ended; what the service says of the last.

    Raises LearningError if it won't begin any more.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("waiting", total=1)
        while True:
            training: dict[str, Any] = call(address, "GET", "/api/status")["training"]
            if training["ended"] >= ended:
                return training
            if _after(training) < ended:
                raise LearningError(training.get("error") or "the training was cancelled, or the service stopped")
            text = f"{training.get('candidate', '')} {training.get('stage', 'waiting')}".strip()
            progress.update(bar, description=text, completed=training.get("step", 0), total=training.get("steps", 1))
            time.sleep(EVERY_S)
