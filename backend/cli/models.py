"""``models``: which models were fitted, and how good they are."""

from __future__ import annotations

from typing import Any

import typer

from .output import AsJson, RecipeName, examples, print_json, print_table
from .stores import existing_store

app = typer.Typer(help="Look at the models fitted so far.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Look at the models fitted so far."""


@app.command("list", epilog=examples("nextlabel models list reviews.yaml"))
def list_models(recipe: RecipeName, as_json: AsJson = False) -> None:
    """List a project's models, newest first, with what was measured."""
    from nextlabel.backend.catalogue import find_recipe
    from nextlabel.backend.settings import Settings

    with existing_store(find_recipe(recipe), Settings.load()) as store:
        rows, current = store.models(), store.current_model()
    chosen = current.version if current else None
    if as_json:
        print_json(
            [
                {
                    "version": row.version,
                    "current": row.version == chosen,
                    "kind": row.kind,
                    "log_seq": row.log_seq,
                    "created_at": row.created_at.isoformat(),
                    "metrics": dict(row.metrics),
                }
                for row in rows
            ]
        )
        return
    print_table(
        ("model", "current", "kind", "labels seen up to", "made", "measured"),
        [
            (
                row.version,
                "*" if row.version == chosen else "",
                row.kind,
                str(row.log_seq),
                f"{row.created_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(f"{name} {_short(value)}" for name, value in row.metrics.items()),
            )
            for row in rows
        ],
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
