"""A row of a data file, and the table that it is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SHOWN: Final = 5  # of many, in a message


def first_few(values: Sequence[Any], most: int = SHOWN) -> str:
    """Up to ``most`` of the values, for a message that says where to look."""
    return ", ".join(map(str, values[:most])) + ", …" * (len(values) > most)


def rows_told(numbers: Sequence[int], what: str, text: str) -> str:
    """How many rows are as ``text`` says, and the first ``numbers`` of them; ``what`` is counted."""
    plural = "s" if len(numbers) > 1 else ""
    return f"{len(numbers):,} {what}{plural} {text} ({what} {first_few(numbers)})"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its ``number`` as people count in this kind of file (lines from 1), and its values by column."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """An opened source. ``what`` a number counts ("line" or "row"), the columns, a remark on how it was read.

    ``filled`` has the numbers of the rows, as far as they were read, that had fewer cells than there are columns.
    ``headed``: the file's first row was taken for the names of the columns, and may be none.
    """

    name: str
    what: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    remark: str = ""
    filled: list[int] = field(default_factory=list)
    headed: bool = False

    def remarks(self) -> list[str]:
        """What there is to know of the rows that were read, in sentences."""
        found = [self.remark] if self.remark else []
        if self.filled:
            text = "with fewer cells than columns; the missing ones are empty"
            found.append(rows_told(self.filled, self.what, text))
        return found
