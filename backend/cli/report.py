"""``report``: what a project has reached so far."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.backend.recipe.catalogue import find_recipe
from nextlabel.connectors.errors import ConfigError, LearningError, MissingExtra

from .common import RecipeName, console, examples, existing_store, print_table, say

if TYPE_CHECKING:
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.reports.project import ProjectReport
    from nextlabel.backend.reports.project_data import Gathered
    from nextlabel.backend.reports.refits import Refitted
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "nextlabel report reviews.yaml",
            "nextlabel report reviews.yaml --out report.html",
            "nextlabel report reviews.yaml --quick --json | tail -1 | jq .stop",
        )
    )(report)


def report(
    recipe: RecipeName,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with pictures too.", show_default=False)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fit no models: nothing is said about labels saved, the rest at once.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of tables.")] = False,
) -> None:
    """Show what a project has reached, and whether to stop.

    Accuracy, labels saved against random, agreement, annotators, class balance, all with intervals. Accuracy is that
    on the audit slice: records drawn at random, answered without a suggestion, never learned from.
    Labels saved against random are estimated by fitting the same probe on the audit slice's own answers, which are
    random ones; this goes no further than that slice does. Whatever too few answers can't tell is said to be unknown.
    Works while the service runs and when it is stopped; the platform need not run. Nothing in the store changes.
    """
    from nextlabel.backend.reports.project import build
    from nextlabel.backend.reports.project_data import gather
    from nextlabel.backend.settings import Settings

    _check_out(out)
    chosen, settings = find_recipe(recipe), Settings.load()
    with existing_store(chosen, settings) as store:
        found = gather(store, chosen.labeling())
        refitted, why = (None, "left out by --quick") if quick else _refitted(found, store, chosen, settings)
    made = build(found, chosen.name, refitted, why)
    if out is not None:
        _write(made, out)
    if as_json:
        sys.stdout.write(json.dumps(made.to_json(), ensure_ascii=False) + "\n")
    else:
        _show(made)


def _refitted(found: Gathered, store: Store, recipe: Recipe, settings: Settings) -> tuple[Refitted | None, str]:
    """The comparison with random under a bar on stderr, or why there is none."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from nextlabel.backend.reports.refits import refit, why_not
    from nextlabel.backend.service.opening import open_cache, open_encoder

    if why := why_not(found):
        return None, why
    columns = (TextColumn("fits to compare with random"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        encoder = open_encoder(recipe, settings)
        with Progress(*columns, console=console(err=True), transient=True) as progress:
            bar = progress.add_task("", total=None)
            return (
                refit(
                    found,
                    store,
                    encoder,
                    open_cache(settings, encoder),
                    lambda done, of: progress.update(bar, completed=done, total=of),
                ),
                "",
            )
    except (LearningError, MissingExtra) as error:
        return None, f"the encoder can't be used: {error}"


def _check_out(out: Path | None) -> None:
    """Complain before the work, not after it."""
    if out is None:
        return
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {str(out)!r} must end in .html")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {str(out)!r}: there is no folder {str(out.absolute().parent)!r}")
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "train")


def _write(made: ProjectReport, out: Path) -> None:
    from nextlabel.backend.files import write_atomically
    from nextlabel.backend.reports.project_page import drawn, page

    try:
        write_atomically(out, page(made, drawn(made)).encode())
    except OSError as error:
        raise ConfigError(f"--out {str(out)!r} can't be written: {error.strerror or error}") from None
    say(f"page: {out}")


def _show(made: ProjectReport) -> None:
    from nextlabel.backend.reports import report_text as words

    print_table(("", ""), words.headline(made), title=made.project)
    if made.saved is not None:
        say(words.HOW_SAVED + (f" {words.HOW_TRAINED}" if made.trained else ""))
    tables = (
        ("curve", "learning curve on the audit slice", words.CURVE, words.curve_rows(made)),
        ("annotators", "annotators, against the majority of the others", words.ANNOTATORS, words.annotator_rows(made)),
        ("balance", "class balance", words.BALANCE, words.balance_rows(made)),
    )
    for part, title, head, rows in tables:
        if part in made.silent:
            say(f"{title}: not known: {made.silent[part]}")
        if part not in made.silent or part == "balance":
            print_table(head, rows, title=title)
    print_table(words.STOP, words.stop_rows(made), title="stop advice; people decide")
