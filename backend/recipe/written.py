"""The recipe of a project that exists, as YAML to read and to change."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.records import FieldKind, Labeling

from .recipe import Recipe

WIDTH = 118
HEAD = """\
# {title}
# {link}
# What the project asks stands here as it was read. Whatever you drop is read from it anew at each start; whatever you
# keep is compared with it, and a difference is told. The other keys: docs/recipes.md
"""


def recipe_name(title: str) -> str:
    """A name that can be a folder's, made of a project's title."""
    plain = unicodedata.normalize("NFKD", title.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "project"


def written(name: str, project: ProjectRef, asked: Labeling, *, workspace: str = "") -> str:
    """The recipe called ``name`` for ``project``, which asks ``asked``: YAML that Recipe.from_yaml reads."""
    plain = Recipe.model_fields["encoder"].default
    parts = [
        HEAD.format(title=_comment(project.title), link=project.link),
        _keys({"name": name, "platform": project.platform, "project": project.id}),
        _keys({"workspace": workspace}) if workspace else "",
        "\n# What annotators see. With a data file (below), which column that is.\n",
        _keys({"fields": _fields(asked)}),
        f"\n# What is asked: {_ASKS[asked.kind.value]}.\n",
        _keys({"question": asked.name, "kind": asked.kind.value}),
        _keys({"instruction": asked.instruction}) if asked.instruction else "",
        "\n# A sentence about a label helps as long as there are few answers: records are compared with it.\n",
        _keys({"labels": _labels(asked)}),
        "\n# Records to add to those of the project; what it has already is not doubled.\n# data: more.csv\n",
        f"\n# What reads the records: a model, or `hashing`, which needs none.\n# encoder: {plain}\n",
    ]
    return "".join(parts)


_ASKS = {"single": "one label per record", "multi": "any number of labels per record", "span": "marks in the text"}


def _fields(asked: Labeling) -> Sequence[str] | Mapping[str, Any]:
    if all(one.kind is FieldKind.TEXT for one in asked.fields):
        return [one.name for one in asked.fields]
    return {
        one.name: one.name if one.kind is FieldKind.TEXT else {"column": one.name, "kind": one.kind.value}
        for one in asked.fields
    }


def _labels(asked: Labeling) -> Sequence[str] | Mapping[str, str]:
    if not asked.descriptions:
        return list(asked.labels)
    return {label: asked.descriptions.get(label, "") for label in asked.labels}


def _keys(values: Mapping[str, Any]) -> str:
    """``values`` as YAML, in their order; a short list of words stands on one line."""
    return "".join(_key(name, value) for name, value in values.items())


def _key(name: str, value: Any) -> str:
    long = isinstance(value, list) and sum(map(len, value)) + 2 * len(value) + len(name) > WIDTH
    inner = None if name == "fields" or (isinstance(value, list) and not long) else False  # None: the innermost on one
    text = yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False, width=WIDTH, default_flow_style=inner)
    return str(text)


def _comment(text: str) -> str:
    return " ".join(text.split())
