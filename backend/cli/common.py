"""What commands share: results and errors on the terminal, calls to the running service, the store of a project.

Rich is imported when something is shown. Commands that only look never make a store.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextlabel.connectors.errors import ConfigError, Overloaded, PlatformUnavailable, Unauthorized

if TYPE_CHECKING:
    from rich.console import Console

    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store

RecipeName = Annotated[
    str,
    typer.Argument(help="An installed recipe, or a .yaml or .py file of yours.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TIMEOUT_S = 600
"""Seconds to wait: the platform may take a tenth of a second per record."""


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


def call(url: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What the service at ``url`` answers, JSON.

    Raises PlatformUnavailable if nobody answers, Unauthorized, or with the service's reason ConfigError for a refusal
    and Overloaded for what it can't do now.
    """
    import httpx

    from nextlabel.backend.credentials import credentials
    from nextlabel.backend.settings import Settings

    token = credentials(Settings.load(), create=False).api_token
    try:
        reply = httpx.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=10 if method == "GET" else TIMEOUT_S,
            trust_env=False,
        )
        if reply.status_code == 401:
            raise Unauthorized(
                f"{url} refuses our token; set NEXTLABEL_HOME or NEXTLABEL_API_TOKEN as the service has it"
            )
        if reply.status_code in (409, 422):
            raise ConfigError(str(reply.json()["detail"]))
        if reply.status_code == 503:
            raise Overloaded(str(reply.json()["detail"]))
        answer: dict[str, Any] = reply.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise PlatformUnavailable(f"no service answers at {url} ({reason}); start one: nextlabel run RECIPE") from None
    return answer


def existing_store(recipe: Recipe, settings: Settings) -> Store:
    """Open the project's store. Raises ConfigError if nothing was run yet."""
    from nextlabel.backend.service.opening import open_store, project_home

    home = settings.home / recipe.name
    if not settings.store and not (home.is_dir() and any(project_home(recipe, settings).glob("store*"))):
        raise ConfigError(f"nothing was run for {recipe.name} yet (looked in {home.absolute()}); set NEXTLABEL_HOME?")
    return open_store(recipe, settings)
