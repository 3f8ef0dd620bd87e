"""``images``: how images stand on the platform, and another way for those that are there."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from nextlabel.connectors.base import Severity
from nextlabel.connectors.errors import ConfigError

from .common import RecipeName, bars, command_group, examples, project_of, say

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel images memes.yaml",
        "export NEXTLABEL_IMAGE_URL=https://nextlabel.example.org",
        "nextlabel images memes.yaml --move",
    )
)
def images(
    recipe: RecipeName,
    move: Annotated[
        bool, typer.Option("--move", help="Give all records of the platform what the settings say now.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Before that, see whether an image comes from the new address.")
    ] = True,
) -> None:
    """Show how images stand on the platform, or move them.

    They stand inside its records, or at addresses. With --move every image that stands inside gets a signed address
    under NEXTLABEL_IMAGE_URL, and addresses of ours get the new one if that has changed; without NEXTLABEL_IMAGE_URL
    they become the images themselves again. Answers, suggestions and queue stay, and the service may run. It takes
    about 0.05 s a record, and may be repeated after it was interrupted.
    """
    from nextlabel.backend.service.image_checks import image_findings, reach
    from nextlabel.backend.service.image_copies import image_copies
    from nextlabel.backend.service.project import PROJECT, attach, check_platform

    with project_of(recipe) as (chosen, settings, store):
        check_platform(chosen, settings, store)
        project = store.get_meta(PROJECT)
        if project is None:
            raise ConfigError(f"{chosen.name} has no project yet: start with nextlabel run {recipe}")
        with closing(attach(chosen, settings, store, project)) as connector:
            copies = image_copies(chosen, settings, store)
            if not move:
                for finding in image_findings(connector, copies, recipe):
                    say(finding.message)
                    if finding.fix:
                        say(f"    fix: {finding.fix}")
                return
            connector.images = copies
            if copies.url:
                copies.fill()
            if copies.url and check and (name := copies.any_name()):
                found = reach(copies, copies.address(name), connector.project.url)
                if found.severity is Severity.ERROR:
                    raise ConfigError(
                        f"nothing was changed: {found.message}. Start the service with NEXTLABEL_IMAGE_URL as it is "
                        "here; if only browsers reach it, and this machine does not, say --no-check"
                    )
            with bars() as progress:
                bar = progress.add_task("Moving", total=None)
                moved = connector.turn_images(lambda n, of: progress.update(bar, completed=n, total=of))
            if not copies.url:
                copies.clear()
        say(f"{moved:,} records have their images {'at signed addresses' if copies.url else 'inside'} now")
