"""The store of a project that exists: commands that only look must not make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextlabel.connectors.errors import ConfigError

if TYPE_CHECKING:
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import Store


def existing_store(recipe: Recipe, settings: Settings) -> Store:
    """Open the project's store. Raises ConfigError if nothing was run yet."""
    from nextlabel.backend.service.opening import open_store, project_home

    home = settings.home / recipe.name
    if not settings.store and not (home.is_dir() and any(project_home(recipe, settings).glob("store*"))):
        raise ConfigError(f"nothing was run for {recipe.name} yet (looked in {home.absolute()}); set NEXTLABEL_HOME?")
    return open_store(recipe, settings)
