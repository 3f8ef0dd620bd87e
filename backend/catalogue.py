"""Recipes by name: those that installed packages offer (entry points ``nextlabel.recipes``), or a YAML file."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nextlabel.connectors.errors import ConfigError

if TYPE_CHECKING:
    from .recipe import Recipe

GROUP = "nextlabel.recipes"


def names() -> list[str]:
    """Names of the installed recipes."""
    return sorted(point.name for point in entry_points(group=GROUP))


def _find(name: str) -> EntryPoint:
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"installed ones: {', '.join(names()) or 'none'}"
    raise ConfigError(f"there is no recipe {name!r} ({hint}); a recipe of your own is a file: nextlabel run my.yaml")


def find_recipe(name: str) -> Recipe:
    """The recipe in the file ``name`` (if it ends in .yaml or .yml), or the installed one of that name.

    Raises ConfigError.
    """
    from .recipe import Recipe

    if name.endswith((".yaml", ".yml")):
        return Recipe.from_yaml(name)
    point = _find(name)
    recipe = point.load()
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"the entry point {point.value} is a {type(recipe).__name__}, not a Recipe")
    return recipe


def source_of(name: str) -> Path:
    """The file that an installed recipe is written in, to read or to copy. Raises ConfigError."""
    point = _find(name)
    spec = find_spec(point.module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{point.module} has no source file")
    return Path(spec.origin)
