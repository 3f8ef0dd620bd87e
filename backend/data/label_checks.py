"""Columns that can't be labels, or that only look like them: refused, or said, before there is any figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nextlabel.connectors.errors import DataError

from .rows import first_few

MANY: Final = 1000  # labels, of which somebody should know
_ENOUGH: Final = 20  # rows from which on it is odd that most have a label of their own
_FLAGS: Final = frozenset({"0", "1", "true", "false"})
_SPAN_KEYS: Final = frozenset({"start", "start_offset", "begin", "end", "end_offset"})


def refuse_nested(values: Sequence[Any]) -> None:
    """Raise DataError if the entries of a list of labels are lists or objects: spans, mostly."""
    for value in values:
        if isinstance(value, Mapping) and not value.keys() & _SPAN_KEYS:
            raise DataError(
                f"holds objects, such as {_short(value)}; name what holds the label, as in label.name or label.0.name"
            )
        if isinstance(value, (list, Mapping)):
            raise DataError(
                f"holds spans, such as {_short(value)}; a label of the whole text is expected. "
                "`nextlabel evaluate --spans COLUMN` is for those, and in a project `kind: span` of a recipe"
            )


@dataclass
class Vectors:
    """Watches lists of labels go by, to tell at the end whether they were vectors with a place for each label."""

    lengths: set[int] = field(default_factory=set)
    flags: bool = True
    numbers: bool = True
    fractions: bool = False
    example: tuple[str, ...] = ()

    def see(self, names: Sequence[str]) -> None:
        """Take in the entries of one list, repeated ones too."""
        self.example = self.example or tuple(names)
        self.lengths.add(len(names))
        self.flags = self.flags and _FLAGS.issuperset(names)
        self.numbers = self.numbers and all(map(_is_number, names))
        self.fractions = self.fractions or (self.numbers and not all(name.lstrip("-").isdigit() for name in names))

    def refuse(self, name: str, column: str) -> None:
        """Raise DataError if all were of one length, and nothing but 0 and 1, or numbers with fractions."""
        if len(self.lengths) == 1 and max(self.lengths) > 1 and (self.flags or (self.numbers and self.fractions)):
            raise DataError(
                f"{name}: the column {column!r} holds vectors of {max(self.lengths)} numbers "
                f"([{first_few(self.example)}]), and not labels; write the names of the labels that a text has, "
                'as in ["late", "rude"], or keep a column of 0 and 1 for each label: --label-columns late,rude'
            )


def refuse_labels(name: str, column: str, labels: Sequence[tuple[str, ...]], several: bool) -> None:
    """Raise DataError for labels that tell nothing apart: one of its own for most rows, or the same for all."""
    found = {label for row in labels for label in row}
    if len(labels) >= _ENOUGH and len(found) > len(labels) * (1.0 if several else 0.5):
        shown = ", ".join(map(repr, sorted(found)[:3]))
        raise DataError(
            f"{name}: the column {column!r} has {len(found):,} different labels in {len(labels):,} rows ({shown}, …), "
            "like ids, texts or measurements; name the column with the labels, or make classes of the numbers"
        )
    if several and len(labels) > 1 and found and all(set(row) == found for row in labels):
        raise DataError(
            f"{name}: every row has the same labels ({', '.join(sorted(found)[:5])}); there is nothing to learn"
        )


def remarks_on_content(text_column: str, texts: Sequence[str], labels: Sequence[tuple[str, ...]]) -> list[str]:
    """Texts that are numbers, and very many labels."""
    remarks = []
    if texts and all(map(_is_number, texts)):
        remarks.append(f"the column {text_column!r} holds nothing but numbers: is it the one with the texts?")
    count = len({label for row in labels for label in row})
    if count >= MANY:
        remarks.append(f"there are {count:,} different labels: is this the right column, and are they spelled alike?")
    return remarks


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
