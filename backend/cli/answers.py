"""``export``: the answers, as a file to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextlabel.backend.recipe.catalogue import find_recipe

from .common import RecipeName, examples, existing_store, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples("nextlabel export reviews.yaml", "nextlabel export reviews.yaml -o votes.jsonl --each")
    )(export)


def export(
    recipe: RecipeName,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .csv or .jsonl.")] = Path(
        "answers.csv"
    ),
    each: Annotated[bool, typer.Option("--each", help="One row per answer, in place of one row per record.")] = False,
) -> None:
    """Write the current answers to a CSV or JSON lines file.

    One row per labelled record, with the answer of the majority; exact copies of a record get its label.
    The platform need not run: everything comes from our own log.
    """
    from nextlabel.backend.pool.export import answer_rows, record_rows, write_rows
    from nextlabel.backend.settings import Settings

    chosen = find_recipe(recipe)
    with existing_store(chosen, Settings.load()) as store:
        rows = answer_rows(store) if each else record_rows(store, chosen.labeling())
        written = write_rows(rows, output)
    say(f"{written:,} rows written to {output}")
