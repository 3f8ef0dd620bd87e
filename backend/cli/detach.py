"""``detach``: leave a project as it was."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from nextlabel.connectors.errors import ConfigError

from .common import RecipeName, bars, command_group, examples, project_of, say

app = command_group()


@app.command(epilog=examples("nextlabel detach reviews.yaml"))
def detach(
    recipe: RecipeName,
    keep_images: Annotated[
        bool,
        typer.Option("--keep-images", help="Leave signed addresses of images: something else goes on serving them."),
    ] = False,
) -> None:
    """Take everything that is ours out of the project.

    Suggestions, places in queues, links, webhooks and the ML backend go; sampling, overlap and model version are what
    they were before the first start; signed addresses of images become the images themselves again. Records, answers,
    and what others put there stay. The service must not run. What was learned stays on this machine: `nextlabel run`
    goes on from there.
    """
    from nextlabel.backend.loop.leadership import Leadership
    from nextlabel.backend.service.image_copies import image_copies
    from nextlabel.backend.service.project import PROJECT, attach, check_platform
    from nextlabel.backend.service.traces import detach as take_out

    with project_of(recipe) as (chosen, settings, store):
        check_platform(chosen, settings, store)
        project = store.get_meta(PROJECT)
        if project is None:
            raise ConfigError(f"{chosen.name} has no project yet, so there is nothing to take out")
        leadership = Leadership(store)
        with leadership.kept(patient=True) as leads:
            if not leads:
                raise ConfigError(
                    f"the service runs ({leadership.leader}), and would put everything back; stop it first"
                )
            with closing(attach(chosen, settings, store, project)) as connector, bars() as progress:
                bar = progress.add_task("Removing", total=None)
                images = None if keep_images else image_copies(chosen, settings, store)
                done = take_out(store, connector, images, lambda n, of: progress.update(bar, completed=n, total=of))
    for line in done:
        say(line)
