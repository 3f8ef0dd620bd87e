"""The ``nextlabel`` command. Each group of commands is a module; whatever is slow to import, they import when run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from nextlabel.connectors.errors import NextlabelError

from . import (
    annotators,
    answers,
    compare,
    demo,
    doctor,
    evaluate,
    models,
    recipes,
    relabel,
    report,
    run,
    simulate,
    status,
    train,
)
from .common import complain, examples

EPILOG = """
\b
Examples:
  nextlabel demo                     see the whole loop work, in ten minutes
  nextlabel run reviews.yaml         label your own data
  nextlabel doctor reviews.yaml      find out why something does not work

Settings are environment variables: LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, NEXTLABEL_HOME, NEXTLABEL_PORT ...
"""

app = typer.Typer(
    name="nextlabel",
    help="Make your annotation platform learn while you label: the most valuable record first, pre-annotated.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,  # rendering help with rich would double the time to show it
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version() -> str:
    from importlib.metadata import version

    return version("nextlabel")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nextlabel {_version()}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options that come before the command."""


for part in (run, status, doctor, compare, answers, relabel, annotators, report, train, evaluate, simulate, demo):
    part.register(app)
app.add_typer(recipes.app, name="recipes")
app.add_typer(models.app, name="models")


@app.command("version", epilog=examples("nextlabel version"))
def version_command() -> None:
    """Print the version."""
    typer.echo(f"nextlabel {_version()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for an error, 2 for a wrong call, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments[:1]
    try:
        app(arguments, prog_name="nextlabel")
    except NextlabelError as error:
        if debug:
            raise
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except Exception as error:
        if debug:
            raise
        complain(f"a defect in nextlabel: {type(error).__name__}: {error}; see it whole with: nextlabel --debug ...")
        return 1
    return 0
