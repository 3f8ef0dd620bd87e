"""``demo``: the whole loop on a real platform, with simulated annotators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nextlabel.backend.recipe.catalogue import find_recipe

from .common import console, examples, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "nextlabel demo",
            "nextlabel demo --platform argilla",
            "nextlabel demo --keep          label by hand, and watch the order change",
            "nextlabel demo --labels 400 --json",
        )
    )(demo)


def demo(
    labels: Annotated[int, typer.Option(min=10, help="How many labels the simulated annotators give.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn at random.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running, and print the addresses and the login.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what --keep left running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON at the end.")] = False,
    platform: Annotated[str, typer.Option(help="Where to label: `label-studio` or `argilla`.")] = "label-studio",
    recipe: Annotated[str, typer.Option(help="A recipe that knows the true labels.")] = "bbc-news",
    data: Annotated[
        Path | None, typer.Option(help="Data of the recipe's form, in place of its own.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the store, the picture and the figures.", show_default="HOME/demo")
    ] = None,
) -> None:
    """See the whole loop work, on a real Label Studio or Argilla.

    Three simulated annotators label news articles through the platform's HTTP API; one of them is wrong 10% of
    the time. Then come the figures. Needs no Docker, no root, and no network once installed.
    """
    from nextlabel.backend.demo.options import DemoOptions
    from nextlabel.backend.demo.run import run_demo, stop_kept
    from nextlabel.backend.settings import Settings

    home = (output or Settings.load().home / "demo").absolute()
    if stop:
        say("stopped" if stop_kept(home) else "nothing is running")
        return
    chosen = find_recipe(recipe)
    if data is not None:
        chosen = chosen.with_data(str(data.absolute()))
    options = DemoOptions(recipe=chosen, home=home, platform=platform, labels=labels, seed=seed, keep=keep)
    terminal = console(err=as_json)
    figures = run_demo(options, terminal)
    figures.show(terminal)
    if as_json:
        sys.stdout.write(figures.to_json() + "\n")
