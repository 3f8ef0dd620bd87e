"""A row of a data file, and the table that it is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its ``number`` as people count in this kind of file (lines from 1), and its values by column."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """An opened source. ``what`` a number counts ("line" or "row"), the columns, a remark on how it was read.

    ``filled`` has the numbers of the rows, as far as they were read, that had fewer cells than there are columns.
    """

    name: str
    what: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    remark: str = ""
    filled: list[int] = field(default_factory=list)

    def remarks(self) -> list[str]:
        """What there is to know of the rows that were read, in sentences."""
        found = [self.remark] if self.remark else []
        if self.filled:
            shown = ", ".join(map(str, self.filled[:_SHOWN])) + (", …" if len(self.filled) > _SHOWN else "")
            plural = "s" if len(self.filled) > 1 else ""
            found.append(
                f"{len(self.filled):,} {self.what}{plural} with fewer cells than columns; the missing ones are empty "
                f"({self.what} {shown})"
            )
        return found
