"""The ``nextlabel`` command. Each module has a few of its commands, and is imported when one of them is called."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from nextlabel.connectors.errors import NextlabelError
from nextlabel.connectors.hiding import TERMINAL

from .common import complain, examples
from .ending import INTERRUPTED, leave
from .terminal import forgive_stderr, masked_terminal

COMMANDS = {
    "init": ("init", "Write the recipe of a project that exists."),
    "run": ("run", "Push the data, and keep the queue in the best order."),
    "serve": ("serve", "Serve a project that was pushed before, or a model alone."),
    "push": ("run", "Push the data to the platform, and leave."),
    "status": ("service", "Show what the running service is doing."),
    "login": ("service", "Show user, password and token of the service."),
    "doctor": ("doctor", "Find what would silently break the loop, and the fix."),
    "compare": ("service", "Compare the annotation log with the platform now."),
    "detach": ("detach", "Take everything that is ours out of the project."),
    "images": ("images", "Show how images stand on the platform, or move them."),
    "forget": ("forget", "Erase records that were deleted on the platform."),
    "import": ("import_answers", "Take labels that you have already into a project."),
    "export": ("export", "Write what came of each record, with how sure that is."),
    "relabel": ("service", "Ask other annotators about records that were answered."),
    "annotators": ("answers", "Show how often each annotator agrees with the others."),
    "issues": ("issues", "Find answers that are likely wrong, and ask others about them."),
    "report": ("report", "Show what a project has reached, and whether to stop."),
    "train": ("service", "Train the encoder now, however little the labels have grown."),
    "evaluate": ("evaluate", "See how good a model for your labelled data is, honestly."),
    "tune": ("tune", "Search settings that fit your labels, and say what they bring."),
    "simulate": ("simulate", "See which strategy would have saved labels on labelled data."),
    "demo": ("run", "See the whole loop work, on a real Label Studio or Argilla."),
    "version": ("", "Print the version."),
    "recipes": ("recipes", "List, read and copy recipes."),
    "models": ("models", "See the models made so far, choose one, or export one."),
}
"""Name -> the module that has it, and its line in the list of commands. In the order of that list."""

EPILOG = """
\b
Examples:
  nextlabel demo                     see the whole loop work, in ten minutes
  nextlabel run reviews.yaml         label your own data
  nextlabel run --project 7          make a project learn that you have already
  nextlabel doctor reviews.yaml      find out why something does not work

Settings are environment variables: LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, NEXTLABEL_HOME, NEXTLABEL_PORT ...
"""


class Listed(TyperCommand):
    """Stands for a command where commands are listed."""


def whole(command: Any) -> Any:
    """The command itself, imported if what is given stands for it."""
    if not isinstance(command, Listed) or command.name is None:
        return command
    made = typer.main.get_command(import_module(f".{COMMANDS[command.name][0]}", __name__).app)
    return getattr(made, "commands", {}).get(command.name, made)


class Commands(TyperGroup):
    """Lists commands without importing them, and imports the one that is called."""

    def __init__(self, *, commands: dict[str, Any], **options: Any) -> None:
        listed: dict[str, Any] = {name: Listed(name, help=line) for name, (_, line) in COMMANDS.items()}
        super().__init__(commands=listed | commands, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is called, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, whole(command), rest


app = typer.Typer(
    cls=Commands,
    name="nextlabel",
    help="Make your annotation platform learn while you label: the most valuable record first, pre-annotated.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,  # rendering help with rich would double the time to show it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _show_version(wanted: bool = True) -> None:
    from importlib.metadata import version

    if wanted:
        typer.echo(f"nextlabel {version('nextlabel')}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options that come before the command."""


@app.command("version", epilog=examples("nextlabel version"))
def version_command() -> None:
    """Print the version."""
    _show_version()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for an error, 2 for a wrong call, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with masked_terminal():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments[:1]
    try:
        app(arguments, prog_name="nextlabel")
    except NextlabelError as error:
        if debug:
            raise
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except Exception as error:
        if debug:
            raise
        complain(f"a defect in nextlabel: {type(error).__name__}: {error}; see it whole with: nextlabel --debug ...")
        return 1
    return 0


def script() -> NoReturn:
    """The command as a program. After Ctrl-C it ends at once: taking the interpreter down may take seconds."""
    forgive_stderr()
    try:
        code = main()
    except Exception:  # of --debug
        sys.exit(TERMINAL(traceback.format_exc()))
    if code == INTERRUPTED:
        leave(code)
    sys.exit(code)
