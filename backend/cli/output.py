"""What every command shares: how results and errors reach the terminal. Rich is imported when something is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

RecipeName = Annotated[
    str,
    typer.Argument(help="An installed recipe, or a .yaml or .py file of yours.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def examples(*lines: str) -> str:
    """The end of a help text: commands to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def console(*, err: bool = False) -> Console:
    """A terminal to print on."""
    from rich.console import Console

    return Console(stderr=err, highlight=False)


def complain(message: str) -> None:
    """One red line (or one a problem) on stderr."""
    from rich.text import Text

    console(err=True).print(Text(f"error: {message}", "red"), soft_wrap=True)


def say(message: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    from rich.text import Text

    console(err=True).print(Text(message), soft_wrap=True)


def print_json(value: Any) -> None:
    """``value`` as indented JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """A table on stdout. Cells are plain text, whatever they hold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)
