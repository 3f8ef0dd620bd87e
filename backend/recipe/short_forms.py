"""What a recipe may say in short: one column, one person, labels with descriptions, shares of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nextlabel.backend.selection import declared


def in_full(short: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe as its fields are. Raises ValueError for shares and descriptions that can't be."""
    values = dict(short)
    fields = values.get("fields")
    if isinstance(fields, str):
        values["fields"] = {"text": {"column": fields}}
    elif isinstance(fields, list) and all(isinstance(name, str) for name in fields):
        values["fields"] = {name: {"column": name} for name in fields}
    elif isinstance(fields, Mapping):
        values["fields"] = {name: {"column": item} if isinstance(item, str) else item for name, item in fields.items()}
    people = values.get("adjudicators")
    if isinstance(people, str | int):
        people = [people]
    if isinstance(people, list | tuple):  # an id of a number looks like one
        values["adjudicators"] = [str(one) if isinstance(one, int) else one for one in people]
    if isinstance(values.get("labels"), Mapping):
        if values.get("descriptions"):
            raise ValueError("labels have their descriptions already; drop `descriptions`")
        values["descriptions"] = {label: text for label, text in values["labels"].items() if text}
        values["labels"] = list(values["labels"])
    if given := values.get("existing_answers"):
        values["existing_answers"] = [{"file": one} if isinstance(one, str) else one for one in listed(given)]
    if isinstance(values.get("strategy"), Mapping):
        try:
            name, options = declared(values["strategy"], values.get("strategy_options") or {})
        except ValueError as error:
            raise ValueError(f"strategy: {error}") from None
        values["strategy"], values["strategy_options"] = name, options
    return values


def listed(given: Any) -> list[Any]:
    """What may be one thing or a list of them, as a list."""
    return list(given) if isinstance(given, (list, tuple)) else [given]
