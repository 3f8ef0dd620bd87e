"""``models``: which models were made, how good they are, which one is in use, and taking one elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nextlabel.backend.recipe.catalogue import find_recipe
from nextlabel.connectors.errors import LearningError

from . import models_export
from .common import AsJson, RecipeName, examples, existing_store, print_json, print_table, say
from .model_rows import Version, checked_entry, find_row, model_store, other_labels

if TYPE_CHECKING:
    from nextlabel.backend.models.registry import Entry
    from nextlabel.backend.store import ModelRow

FOLLOWS = "a running service follows once it has encoded all records for it; see: nextlabel status"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """See the models made so far, choose one, or export one."""


@app.command("list", epilog=examples("nextlabel models list reviews.yaml"))
def list_models(recipe: RecipeName, as_json: AsJson = False) -> None:
    """List a project's models, newest first, with what was measured."""
    from nextlabel.backend.settings import Settings

    with existing_store(find_recipe(recipe), Settings.load()) as store:
        rows, current = store.models(), store.current_model()
    chosen = current.version if current else None
    if as_json:
        print_json([_row(row, chosen) for row in rows])
        return
    print_table(
        ("model", "current", "kind", "encoder from", "labels seen up to", "made", "measured"),
        [
            (
                row.version,
                "*" if row.version == chosen else "",
                row.kind,
                row.base,
                str(row.log_seq),
                f"{row.created_at:%Y-%m-%d %H:%M:%S}",
                _measured(row),
            )
            for row in rows
        ],
    )


@app.command(
    "show",
    epilog=examples("nextlabel models show reviews.yaml fine-tune-2", "nextlabel models show reviews.yaml current"),
)
def show_model(recipe: RecipeName, version: Version, as_json: AsJson = False) -> None:
    """Show all that is known of a model.

    Its card, figures with intervals, what it was made from, its size.
    """
    from nextlabel.backend.settings import Settings

    chosen, settings = find_recipe(recipe), Settings.load()
    with existing_store(chosen, settings) as store:
        row, current, models = find_row(store, version), store.current_model(), model_store(chosen, settings)
    try:
        entry, problem = checked_entry(models, row), ""
    except LearningError as error:
        entry, problem = None, str(error)
    known = _row(row, current.version if current else None) | {
        "path": row.path,
        "bytes": _size(row),
        "problem": problem,
        "other_labels": other_labels(models, row, chosen),
    }
    if as_json:
        from dataclasses import asdict

        print_json(known | {"card": asdict(entry.card) if entry and entry.card else None})
        return
    print_table(("", row.version), _facts(row, entry, known))


@app.command("promote", epilog=examples("nextlabel models promote reviews.yaml fine-tune-1"))
def promote(recipe: RecipeName, version: Version) -> None:
    """Put a model into use, whatever the figures say. A running service follows once it has encoded all records."""
    from nextlabel.backend.models.registry import choose_version
    from nextlabel.backend.settings import Settings

    chosen, settings = find_recipe(recipe), Settings.load()
    with existing_store(chosen, settings) as store:
        models = model_store(chosen, settings)
        row = choose_version(store, models, find_row(store, version).version)
    say(f"{row.version} is chosen; {FOLLOWS}")
    if text := other_labels(models, row, chosen):
        say(f"note: {row.version} was made for other labels: {text}")


@app.command("rollback", epilog=examples("nextlabel models rollback reviews.yaml"))
def rollback(recipe: RecipeName) -> None:
    """Go back to what was in use before the trained model."""
    from nextlabel.backend.models.registry import roll_back
    from nextlabel.backend.settings import Settings

    chosen, settings = find_recipe(recipe), Settings.load()
    with existing_store(chosen, settings) as store:
        models = model_store(chosen, settings)
        version = roll_back(store, models)
        text = other_labels(models, find_row(store, version), chosen) if version else ""
    say(f"{version or f'the encoder {chosen.encoder}'} is chosen again; {FOLLOWS}")
    if text:
        say(f"note: {version} was made for other labels: {text}")


models_export.register(app)


def _row(row: ModelRow, current: str | None) -> dict[str, Any]:
    return {
        "version": row.version,
        "current": row.version == current,
        "kind": row.kind,
        "base": row.base,
        "log_seq": row.log_seq,
        "created_at": row.created_at.isoformat(),
        "metrics": dict(row.metrics),
    }


def _facts(row: ModelRow, entry: Entry | None, known: dict[str, Any]) -> Iterable[tuple[str, str]]:
    card = entry.card if entry else None
    facts = {
        "in use": "yes" if known["current"] else "no",
        "kind": row.kind,
        "made": f"{row.created_at:%Y-%m-%d %H:%M:%S}",
        "labels seen up to": str(row.log_seq),
        "encoder from": row.base or "the recipe",
        "measured": _measured(row),
        "size": f"{known['bytes'] / 2**20:,.1f} MiB" if known["bytes"] else "",
        "where": row.path,
        "problem": known["problem"],
        "other labels": known["other_labels"],
    }
    if card is not None:
        facts |= {
            "encoder from": card.parent or card.base,
            "base encoder": card.base,
            "figures": "\n".join(map(str, card.figures)),
            "how measured": card.measured,
            "labels": "\n".join(f"{label}: {count:,}" for label, count in card.counts.items()),
            "hash of the texts": card.data_hash,
            "trained": f"{card.seconds:,.0f} s on {card.device}" if card.device else "",
            "settings": ", ".join(f"{name} {value}" for name, value in card.spec.items()),
            "versions": ", ".join(f"{name} {number}" for name, number in card.libraries.items()),
        }
    return [(name, text) for name, text in facts.items() if text]


def _size(row: ModelRow) -> int:
    path = Path(row.path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _measured(row: ModelRow) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in row.metrics.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
