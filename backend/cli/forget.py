"""``forget``: erase records that were deleted on the platform."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.connectors.errors import ConfigError

from .common import RecipeName, command_group, examples, project_of, say

if TYPE_CHECKING:
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store, StoredRecord

app = command_group()


@app.command(epilog=examples("nextlabel forget reviews.yaml review-17 review-40"))
def forget(
    recipe: RecipeName,
    uids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of the records, as `nextlabel export` shows them.")
    ],
) -> None:
    """Erase records that were deleted on the platform.

    Text, metadata, copies of images and vectors go. The service does the same by itself within three hours, and takes
    the vectors out at its next start. What is in your data file, in backups and in exported files, you have to erase
    yourself.
    """
    from nextlabel.backend.service.erasing import digests_of, learned_from, remove_vectors
    from nextlabel.backend.service.image_copies import image_copies
    from nextlabel.backend.service.opening import image_rules

    with project_of(recipe) as (chosen, settings, store):
        wanted = list(dict.fromkeys(uids))
        found = store.get(wanted)
        if unknown := set(wanted) - {item.record.uid for item in found}:
            raise ConfigError(f"{chosen.name} knows no record {sorted(unknown)[0]!r}; nothing was erased")
        _check_deleted(chosen, settings, store, found)
        labeling, home = chosen.labeling(), settings.home.expanduser()
        erased = store.erase(wanted, partial(digests_of, labeling, image_rules(chosen, settings)))
        removed, busy = remove_vectors(store, labeling, home)
        if (images := image_copies(chosen, settings, store)).used:
            images.fill()
        flushed = store.flush_erased()
        models = learned_from(store, found, home / chosen.name)
    say(f"erased: text and metadata of {len(erased):,} records (copies included), {removed:,} vectors")
    if busy:
        say(f"vectors are left in {_names(busy)}, which a running nextlabel has open; its next start removes them")
    if not flushed:
        say("somebody reads the store: what was erased is still in its -wal file, for minutes, or until it is closed")
    if models:
        say(f"models that may have learned from them: {', '.join(models)}; those of the next training have not")


def _check_deleted(recipe: Recipe, settings: Settings, store: Store, found: Sequence[StoredRecord]) -> None:
    """Raise ConfigError if the platform still has one of these records: it would come back."""
    from nextlabel.backend.service.project import PROJECT, attach, check_platform

    there = [item.remote_id for item in found if item.remote_id is not None and not item.gone]
    project = store.get_meta(PROJECT)
    if not there or project is None:
        return
    check_platform(recipe, settings, store)
    with closing(attach(recipe, settings, store, project)) as connector:
        gone = connector.missing(there)
    if left := [item.record.uid for item in found if item.remote_id in set(there) - set(gone)]:
        raise ConfigError(f"delete {left[0]} on the platform first: it is still there; nothing was erased")
    store.mark_gone(gone)


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(folder.name for folder in folders)
