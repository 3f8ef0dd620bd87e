"""Doubtful answers in words and tables, for the terminal and for pages, from what their ``to_json`` gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WORST = ("where", "annotator", "given", "suggested", "score", "text")
LABELS = ("label", "answers", "likely wrong", "share", "95%", "likely missed")
PEOPLE = ("annotator", "answers", "likely wrong", "share", "95%")
OUTLIERS = ("where", "likeness to the others", "text")
DUPLICATES = ("where", "given", "likeness", "text")
TEXT = 160
"""Characters of a text that a table shows."""

HOW = (
    "Each answer is held against a model that has seen neither the record, nor a copy of it. The score is how probable "
    "the answer is by that model (by CROWDLAB, with all other answers, where a record has several); which are likely "
    "wrong, cleanlab's confident learning says. That is a reason to look, and no proof."
)


def headline(found: Mapping[str, Any]) -> str:
    """How many answers are likely wrong, and what else is doubtful."""
    share = found["share"]
    told = f"{found['likely']:,} of {found['answers']:,} answers are likely wrong"
    told += (
        f" ({share['mean']:.1%}, 95%: {share['low']:.1%} to {share['high']:.1%})" if share["mean"] is not None else ""
    )
    many = len(found["duplicates"])
    copies = f"{many:,} group{'' if many == 1 else 's'} of near copies with different answers"
    return f"{told}; {len(found['outliers']):,} outliers; {copies}"


def asked_again(found: Mapping[str, int]) -> str:
    """What came of asking again; "" where nobody was asked."""
    if not found["asked"]:
        return ""
    left = found["asked"] - found["answered"]
    return (
        f"of {found['asked']:,} records that were asked about again {found['answered']:,} were answered since: "
        f"{found['changed']:,} changed, {found['kept']:,} stayed as they were; {left:,} still wait"
    )


def worst_rows(found: Mapping[str, Any], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """The answers that are told, WORST's columns."""
    for one in found["issues"][:most]:
        yield (
            where(one), one.get("annotator", ""), said(one["given"]), said(one["suggested"]), f"{one['score']:.3f}",
            record(one),
        )  # fmt: skip


def label_rows(found: Mapping[str, Any], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Labels, LABELS's columns."""
    for one in found["by_label"][:most]:
        yield one["name"], f"{one['answers']:,}", f"{one['likely']:,}", *_share(one), f"{one['missed']:,}"


def people_rows(found: Mapping[str, Any], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Annotators, PEOPLE's columns."""
    for one in found["by_annotator"][:most]:
        yield one["name"], f"{one['answers']:,}", f"{one['likely']:,}", *_share(one)


def outlier_rows(found: Mapping[str, Any], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Records that are like no other, OUTLIERS's columns."""
    for one in found["outliers"][:most]:
        yield where(one), f"{one['score']:.3f}", record(one)


def duplicate_rows(found: Mapping[str, Any], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Near copies with different answers, a row for each record, DUPLICATES's columns."""
    for group in found["duplicates"][:most]:
        for one in group["records"]:
            yield where(one), said(one["given"]), f"{group['likeness']:.3f}", record(one)


def where(one: Mapping[str, Any]) -> str:
    """A record's uid, or its row in the file."""
    return str(one["uid"] if "uid" in one else f"row {one['row']}")


def said(value: Any) -> str:
    """An answer in a cell of a table."""
    if isinstance(value, str):
        return value
    parts: Sequence[Any] = value
    if all(isinstance(one, str) for one in parts):
        return " | ".join(parts) or "none"
    return "; ".join(f"{one['label']} {one['start']}-{one['end']}" for one in parts) or json.dumps(value)


def record(one: Mapping[str, Any]) -> str:
    """The beginning of what a record says, and where what it shows is."""
    return short(" ".join([one["text"], *(f"[{address}]" for address in one.get("images", ()))]))


def short(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT else f"{line[: TEXT - 1]}…"


def _share(one: Mapping[str, Any]) -> tuple[str, str]:
    share = one["share"]
    return f"{share['mean']:.1%}", f"{share['low']:.1%} to {share['high']:.1%}"
