"""A recipe that attaches to a project: what it leaves out is the project's, what it says is checked against it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import Field, Labeling

from .recipe import FieldSource, Recipe

UNNAMED = "text"
"""What a field is called if the recipe names a column only."""
_BARE = re.compile(rf"({'|'.join(PLATFORMS)})-(\S+)")


def bare_recipe(platform: str, project: str) -> Recipe:
    """A recipe that says nothing but which project: everything else is the project's, or the default.

    Its name finds it again: see :func:`named_project`.
    """
    return Recipe(name=f"{platform}-{project}", platform=platform, project=project)


def named_project(name: str) -> Recipe | None:
    """The bare recipe called ``name``, such as ``label-studio-7``; None if that names no project."""
    found = _BARE.fullmatch(name)
    return bare_recipe(found[1], found[2]) if found else None


def completed(recipe: Recipe, asked: Labeling) -> Recipe:
    """``recipe`` with what it leaves out taken from ``asked``, what its project asks.

    Nothing is compared here, so that a difference can be told of the whole.
    """
    said = recipe.model_fields_set
    labels = recipe.labels or asked.labels
    theirs = {label: text for label, text in asked.descriptions.items() if label in labels}
    return recipe.model_copy(
        update={
            "kind": recipe.kind if "kind" in said else asked.kind,
            "labels": labels,
            "descriptions": theirs | dict(recipe.descriptions),
            "question": recipe.question if "question" in said else asked.name,
            "instruction": recipe.instruction or asked.instruction,
            "fields": _fields(recipe, asked),
        }
    )


def _fields(recipe: Recipe, asked: Labeling) -> Mapping[str, FieldSource]:
    """The recipe's fields, or the project's. A field that was given no name is the one it must be."""
    if "fields" not in recipe.model_fields_set:
        brought = recipe.records is not None  # by a function, which names their fields itself
        return recipe.fields if brought else {one.name: _source(one) for one in asked.fields}
    names = [one.name for one in asked.fields]
    if list(recipe.fields) != [UNNAMED] or UNNAMED in names:
        return recipe.fields
    [source] = recipe.fields.values()
    alike = [one.name for one in asked.fields if one.kind is source.kind]
    if source.column in names:
        return {source.column: source}
    return {alike[0]: source} if len(alike) == 1 else recipe.fields


def _source(one: Field) -> FieldSource:
    return FieldSource(column=one.name, kind=one.kind)
