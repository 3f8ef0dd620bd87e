"""``init``: the recipe of a project that exists, written from what the platform says."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from .common import Question, Workspace, command_group, examples, project_on, say, write_new

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel init --project 7",
        "nextlabel init --project 'Support tickets' tickets.yaml",
        "nextlabel init --project http://127.0.0.1:8080/projects/7/data -",
        "nextlabel init --platform argilla --project reviews --workspace team --question topic",
    )
)
def init(
    project: Annotated[
        str, typer.Option(help="The project: its id, its name, or its address in the browser.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Argument(help="File to write, or - to print it; named after the project, if not given."),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            help="`label-studio` or `argilla`. Default: the one that the settings have an address of.",
            show_default=False,
        ),
    ] = None,
    question: Question = None,
    workspace: Workspace = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write the recipe of a project that exists.

    Fields, question, labels and what is said of them are read from the platform; nothing is changed there. Change what
    you like, then start with `nextlabel run FILE`. Its records and answers need no data file.
    """
    from nextlabel.backend.recipe.written import recipe_name, written
    from nextlabel.backend.settings import Settings

    settings = Settings.load()
    with closing(project_on(settings, platform, project, workspace, question)) as connector:
        ref, asked = connector.project, connector.labeling
    name = recipe_name(ref.title)
    output = output or Path(f"{name}.yaml")
    text = written(output.stem if output.suffix else name, ref, asked, workspace=workspace or "")
    if str(output) == "-":
        sys.stdout.write(text)
        return
    write_new(output, text, force=force)
    say(f"written: {output}; read it, then start with: nextlabel run {output}")
