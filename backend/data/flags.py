"""Columns of 0 and 1, one per label: several labels of a row, called as the columns are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from nextlabel.connectors.errors import DataError

from .cells import LabelReader
from .rows import Row, Table, first_few, rows_told
from .tables import at_cell, cell_label

_ON: Final = {"1": True, "true": True, "0": False, "false": False, "": False}


@dataclass
class FlagReader:
    """Reads the ``columns``. ``gaps`` are the rows with some of them empty, ``seen`` the labels that any row has."""

    columns: Sequence[str]
    gaps: list[int] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    _cells: LabelReader = field(default_factory=LabelReader)

    def read(self, table: Table, row: Row) -> list[str] | None:
        """The labels with a 1, None if nothing stands in any of the columns. Raises DataError for what is no 0 or 1."""
        cells = {name: cell_label(table, row, name, self._cells) for name in self.columns}
        for name, cell in cells.items():
            if cell not in _ON:
                raise at_cell(table, row, name, DataError(f"holds {cell[:40]!r}; a column of 0 and 1 is expected"))
        if not any(cells.values()):
            return None
        if "" in cells.values():
            self.gaps.append(row.number)
        found = [name for name, cell in cells.items() if _ON[cell]]
        self.seen.update(found)
        return found

    def remarks(self, what: str) -> list[str]:
        """Sentences on what was read; rows are counted as ``what``."""
        found = []
        if self.gaps:
            found.append(rows_told(self.gaps, what, "with some of the label columns empty; that was read as 0"))
        if never := [repr(name) for name in self.columns if name not in self.seen]:
            found.append(f"no row has a 1 in {first_few(never)}: no label of any")
        return found
