"""``recipes``: what is installed, what it says, and a copy to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextlabel.backend.recipe import find_recipe, names, source_of

from .common import AsJson, command_group, examples, print_json, print_table, say, write_new

app = command_group(help="List, read and copy recipes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of an installed recipe.", show_default=False)]


@app.command("list", epilog=examples("nextlabel recipes list"))
def list_recipes(as_json: AsJson = False) -> None:
    """List the installed recipes."""
    found = [(name, find_recipe(name)) for name in names()]
    if as_json:
        print_json([{"name": name, "title": recipe.title, "description": recipe.description} for name, recipe in found])
    else:
        print_table(("recipe", "what it is"), [(name, recipe.description) for name, recipe in found])


@app.command("show", epilog=examples("nextlabel recipes show bbc-news"))
def show(name: Name) -> None:
    """Print a recipe's source."""
    typer.echo(source_of(name).read_text(encoding="utf-8"), nl=False)


@app.command("copy", epilog=examples("nextlabel recipes copy bbc-news mine.py && nextlabel run mine.py"))
def copy(
    name: Name,
    target: Annotated[Path | None, typer.Argument(help="File to write; the recipe's own name, if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Copy a recipe into a file of yours, to change and run."""
    source = source_of(name)
    target = target or Path(source.name)
    write_new(target, source.read_text(encoding="utf-8"), force=force)
    say(f"written: {target}; run it with: nextlabel run {target}")
