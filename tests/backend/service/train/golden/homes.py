"""The golden homes: what is asked in them, and what the version that wrote them said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextlabel.connectors.records import Span
from tests.backend.parity import text

HOMES = Path(__file__).parent / "kept"
SPAN_LABELS = ("people", "time")
STORE = "store.sqlite"
PARTS = ("models", "embeddings", "tiny")
"""What of a service's folder is kept beside the store."""
FOLDER = "/the/folder"
"""Stands for the folder in what the store says of files."""


@dataclass(frozen=True)
class Expected:
    """``answers``: annotation id -> remote id and annotator; ``vectors``: rows in the cache of embeddings.

    ``predictions``: for each of the new texts, None or the parts of the value and the score.
    """

    model: str
    queue: list[str]
    answers: dict[str, list[str]]
    models: list[str]
    vectors: int
    predictions: list[Any]

    @classmethod
    def of(cls, home: str) -> Expected:
        return cls(**json.loads((HOMES / f"{home}.json").read_text()))


def span_text(number: int) -> str:
    return f"a table for {number % 7 + 2} people at {number % 11 + 1} pm, house {number}"


def spans(table: str) -> tuple[Span, ...]:
    found = []
    for label, before, after in (("people", "for ", " people"), ("time", "at ", ",")):
        start = table.index(before) + len(before)
        found.append(Span(start, table.index(after, start), label))
    return tuple(found)


NEW = {
    "choices": [text(number) for number in range(1000, 1008)],
    "spans": [span_text(number) for number in range(1000, 1008)],
}


def plain(part: object) -> object:
    """Part of a value as JSON has it."""
    return [part.start, part.end, part.label] if isinstance(part, Span) else part
