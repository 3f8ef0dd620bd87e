"""What a recipe may say in short: one column, one person, labels with descriptions, shares of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextlabel.backend.data.sources import beside
from nextlabel.backend.selection import declared
from nextlabel.backend.suggesters.spec import FOLDERS


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
    if given := values.get("suggest_from"):
        values["suggest_from"] = [as_suggester(one) for one in listed(given)]
    if isinstance(values.get("strategy"), Mapping):
        try:
            name, options = declared(values["strategy"], values.get("strategy_options") or {})
        except ValueError as error:
            raise ValueError(f"strategy: {error}") from None
        values["strategy"], values["strategy_options"] = name, options
    return values


def as_suggester(given: Any) -> Any:
    """A suggester said in a word: the address of one, or a model."""
    if isinstance(given, str):
        return {"url" if given.startswith(("http://", "https://")) else "model": given}
    return {"function": given} if callable(given) else given


def listed(given: Any) -> list[Any]:
    """What may be one thing or a list of them, as a list."""
    return list(given) if isinstance(given, (list, tuple)) else [given]


def model_beside(folder: Path, given: Any) -> Any:
    """A suggester of a recipe in ``folder``, whose model may lie there."""
    one = as_suggester(given)
    if not isinstance(one, dict):
        return one
    return {
        **one,
        **{key: str(place) for key in FOLDERS if one.get(key) and (place := folder / str(one[key])).exists()},
    }


def file_beside(folder: Path, given: Any) -> Any:
    """``given`` answers of a recipe in ``folder``, their file looked for there."""
    one = {"file": given} if isinstance(given, str) else given
    return {**one, "file": beside(folder, str(one["file"]))} if isinstance(one, dict) and one.get("file") else one
