"""``relabel``: ask the running service for other opinions on records."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nextlabel.backend.recipe.catalogue import find_recipe
from nextlabel.connectors.errors import ConfigError

from .common import AsJson, RecipeName, call, examples, existing_store, print_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples("nextlabel relabel reviews.yaml 17 40", "nextlabel relabel reviews.yaml 17 --opinions 3")
    )(relabel)


def relabel(
    recipe: RecipeName,
    uids: Annotated[
        list[str], typer.Argument(metavar="UID...", help="Ids of the records, as `nextlabel export` shows them.")
    ],
    opinions: Annotated[
        int, typer.Option(min=2, help="How many annotators shall have answered each record in the end.")
    ] = 2,
    url: Annotated[
        str | None, typer.Option(help="Address of the service; http://HOST:PORT if not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask other annotators about records that were answered.

    The records come first in the queue of everybody who did not answer them, without a suggestion. Needs the running
    service.
    """
    from nextlabel.backend.service.project import PROJECT
    from nextlabel.backend.settings import Settings

    settings = Settings.load()
    address = url or settings.address()
    chosen = find_recipe(recipe)
    with existing_store(chosen, settings) as store:
        project = store.get_meta(PROJECT)
    served: dict[str, Any] = call(address, "GET", "/api/status")["project"] or {}
    if served.get("id") != project:
        raise ConfigError(
            f"the service at {address} works for {served.get('title') or 'no project'} ({served.get('id')}), not for "
            f"{chosen.name} ({project}); name its address with --url"
        )
    answer = call(address, "POST", "/api/relabel", {"uids": uids, "opinions": opinions})
    if as_json:
        print_json(answer)
        return
    say(f"{answer['asked']:,} records will be answered by {opinions} annotators in all; they come first in the queue")
