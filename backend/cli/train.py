"""``train``: have the running service train the encoder, watch it, or cancel it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from .output import AsJson, examples, print_json, say

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

    Needs the running service, which goes on answering meanwhile. The result is used if it is not worse.
    """
    from nextlabel.backend.settings import Settings

    from .calling import call

    address = url or Settings.load().address()
    if cancel:
        answer = call(address, "DELETE", "/api/train")
        say("cancelled" if answer["cancelled"] else "no training was running")
    else:
        before = call(address, "GET", "/api/status")["training"].get("ended", 0)
        answer = call(address, "POST", "/api/train")
        if wait:
            answer = _watch(address, before)
            say(answer.get("verdict", ""))
        else:
            say("training starts within seconds; see: nextlabel status")
    if as_json:
        print_json(answer)


def _watch(address: str, before: int) -> dict[str, Any]:
    """A progress bar until one training more has ended; what the service says of it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from .calling import call

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("waiting", total=1)
        while True:
            training: dict[str, Any] = call(address, "GET", "/api/status")["training"]
            if training.get("ended", 0) > before:
                return training
            text = f"{training.get('candidate', '')} {training.get('stage', 'waiting')}".strip()
            progress.update(bar, description=text, completed=training.get("step", 0), total=training.get("steps", 1))
            time.sleep(EVERY_S)
