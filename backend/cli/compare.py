"""``compare``: hold the annotation log against the platform, now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from .common import AsJson, call, examples, print_json, say

EVERY_S = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("nextlabel compare", "nextlabel compare --believe"))(compare)


def compare(
    believe: Annotated[
        bool,
        typer.Option("--believe", help="Take it as it is where most answers or records are gone, or changed, at once."),
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Address of the service; http://HOST:PORT if not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the annotation log with the platform now.

    The running service does it at its start and once an hour. What is missing on either side is mended; exits with 1
    where so much is gone, or changed, that somebody has to decide.
    """
    from nextlabel.backend.settings import Settings

    address = url or Settings.load().address()
    found = _wait(address, call(address, "POST", "/api/compare", {"believe": believe})["number"])
    if as_json:
        print_json(found)
    else:
        say(sentence(found))
    if not found["agree"]:
        raise typer.Exit(1)


def _wait(address: str, number: int) -> dict[str, Any]:
    from rich.console import Console

    with Console(stderr=True).status("comparing log and platform"):
        while True:
            found: dict[str, Any] = call(address, "GET", "/api/status")["comparison"]
            if found["ended"] >= number:
                return found
            time.sleep(EVERY_S)


def sentence(found: Mapping[str, Any]) -> str:
    """What the last comparison came to, in words; empty before the first."""
    if "answers" not in found:
        return "being compared for the first time" if found.get("running") else ""
    when = f"compared {_ago(found['age_s'])} ago"
    if not found["agree"]:
        differ = f"log and platform differ in {found['withheld']:,} answers or records, {when}"
        return f"{differ}; if the platform is right: nextlabel compare --believe"
    news = f", {found['found']:,} rows were found by it" if found["found"] else ""
    return f"log and platform agree: {found['answers']:,} answers, {when}{news}"


def _ago(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
