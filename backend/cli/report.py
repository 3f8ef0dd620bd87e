"""``report``: what a project has reached so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextlabel.connectors.errors import ConfigError, LearningError, MissingExtra

from .common import (
    Project,
    RecipeName,
    bars,
    check_page,
    command_group,
    examples,
    print_json_line,
    print_table,
    project_of,
    say,
)
from .issues import look_through

if TYPE_CHECKING:
    from nextlabel.backend.reports.against_random import Refitted
    from nextlabel.backend.reports.project import ProjectReport
    from nextlabel.backend.reports.project_data import Gathered
    from nextlabel.backend.training.spec import EpochFigures

app = command_group()
QUICK = "left out by --quick"


@app.command(
    epilog=examples(
        "nextlabel report reviews.yaml",
        "nextlabel report reviews.yaml --out report.html",
        "nextlabel report reviews.yaml --quick --json | tail -1 | jq .stop",
    )
)
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

    Accuracy, labels saved against random, agreement, annotators, class balance, all with intervals, and likely label
    errors. Accuracy is that on the audit slice: records drawn at random, answered without a suggestion, never learned
    from.
    Labels saved against random are estimated by fitting the same probe on the audit slice's own answers, which are
    random ones; this goes no further than that slice does. Whatever too few answers can't tell is said to be unknown.
    Works while the service runs and when it is stopped; the platform need not run. Nothing in the store changes.
    """
    from nextlabel.backend.reports.project import build
    from nextlabel.backend.reports.project_data import gather

    check_page("--out", out)
    with project_of(recipe) as project:
        chosen, _, store = project
        found = gather(store, chosen.labeling())
        refitted, why = (None, QUICK) if quick else _refitted(found, project)
        doubtful = QUICK if quick else _issues(project)
    made = build(found, chosen.name, refitted, why, recipe, doubtful, _epochs(found, project))
    if out is not None:
        _write(made, out)
    if as_json:
        print_json_line(made.to_json())
    else:
        _show(made)


def _refitted(found: Gathered, project: Project) -> tuple[Refitted | None, str]:
    """The comparison with random under a bar on stderr, or why there is none."""
    from nextlabel.backend.reports.against_random import refit, why_not
    from nextlabel.backend.service.opening import open_cache, open_encoder

    if why := why_not(found):
        return None, why
    recipe, settings, store = project
    try:
        encoder = open_encoder(recipe, settings)
        cache = open_cache(recipe, settings, encoder)
        with bars() as progress:
            bar = progress.add_task("fits to compare with random", total=None)

            def watch(done: int, of: int) -> None:
                progress.update(bar, completed=done, total=of)

            return refit(found, store, encoder, cache, watch), ""
    except (LearningError, MissingExtra) as error:
        return None, f"the encoder can't be used: {error}"


def _epochs(found: Gathered, project: Project) -> tuple[EpochFigures, ...]:
    """Of the training of the encoder in use."""
    from nextlabel.backend.models.saving import read_epochs
    from nextlabel.backend.service.opening import project_home

    home = project_home(project.recipe, project.settings)
    return tuple(read_epochs(home / "models" / found.trained)) if found.trained else ()


def _issues(project: Project) -> dict[str, Any] | str:
    """Doubtful answers under a bar on stderr, or why nothing is known of them."""
    try:
        return look_through(project).to_json()
    except (ConfigError, LearningError, MissingExtra) as error:
        return str(error)


def _write(made: ProjectReport, out: Path) -> None:
    from nextlabel.backend.files import write_atomically
    from nextlabel.backend.reports.project_page import drawn, page

    try:
        write_atomically(out, page(made, drawn(made)).encode())
    except OSError as error:
        raise ConfigError(f"--out {str(out)!r} can't be written: {error.strerror or error}") from None
    say(f"page: {out}")


def _show(made: ProjectReport) -> None:
    from nextlabel.backend.reports import project_page as words

    print_table(("", ""), words.headline(made), title=made.project)
    if command := words.to_ask_others(made):
        say(f"to ask others about the answers in doubt, while the service runs: {command}")
    if command := words.to_look_at_issues(made):
        say(f"to see which answers are likely wrong, without --send, and to ask others: {command}")
    if how := words.how_saved(made):
        say(how)
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
