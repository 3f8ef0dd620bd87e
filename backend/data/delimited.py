"""CSV, TSV and their kin, read by Python's ``csv``, which says the line that a row begins in.

The delimiter is found, or said: by who asks, or by a first line like ``sep=;``, as spreadsheets write it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TextIO

from nextlabel.connectors.errors import DataError

from .encodings import Encoding, decoded, encoding_of
from .reading import NOTHING_SAID, ReadingOptions, column_names
from .rows import Row, Table
from .sources import Source

_DELIMITERS: Final = ",;\t|"
_SAMPLE: Final = 200  # rows, to tell a delimiter by their width
_LONGEST_CELL: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Form:
    """How the file is written: ``above`` lines stand before the header; ``quotes`` are no part of the text, but where
    ``escape`` stands before one. The names in ``header`` are the file's first row, if it is ``headed``.
    """

    encoding: Encoding
    delimiter: str
    header: tuple[str, ...]
    above: int = 0
    headed: bool = True
    quotes: bool = True
    escape: str | None = None


def open_delimited(source: Source, wanted: Sequence[str], options: ReadingOptions = NOTHING_SAID) -> Table:
    """The table in ``source``. Raises DataError for an empty header, or a ``wanted`` column that is there twice."""
    csv.field_size_limit(_LONGEST_CELL)
    form = _form(source, wanted, options)
    repeated = {name for name in form.header if form.header.count(name) > 1 and name in wanted}
    if repeated:
        raise DataError(f"{source.name}:1: the column {repeated.pop()!r} is there twice; rename one")
    filled: list[int] = []
    rows = _rows(source, form, filled)
    return Table(source.name, "line", form.header, rows, form.encoding.remark, filled, form.headed)


def _form(source: Source, wanted: Sequence[str], options: ReadingOptions) -> _Form:
    encoding = encoding_of(source.opened, options.encoding)
    with decoded(source.opened, encoding) as lines:
        first = lines.readline()
    above, marks = (1, first[4]) if first.startswith("sep=") and len(first.strip()) == 5 else (0, _DELIMITERS)
    forms = [
        _with_header(source, _Form(encoding, mark, (), above, options.header)) for mark in options.delimiter or marks
    ]
    # The delimiter is the one under which most of the wanted columns exist; the comma, if that decides nothing.
    form = max(forms, key=_fitness(source, wanted))
    delimiter = form.delimiter
    if delimiter == "\t" and _holds(source, encoding, '"'):  # many files with tabs quote nothing
        return _better(source, form, replace(form, quotes=False))
    if _holds(source, encoding, '\\"'):  # MySQL and others write \" for a quote, and not ""
        return _better(source, form, replace(form, escape="\\"))
    return form


@contextmanager
def _below(source: Source, form: _Form) -> Iterator[TextIO]:
    """The lines of the file from its header on."""
    with decoded(source.opened, form.encoding) as lines:
        for _ in range(form.above):
            lines.readline()
        yield lines


def _with_header(source: Source, form: _Form) -> _Form:
    """``form`` with the names of the columns: those in the first row; or as many as it has cells."""
    with _below(source, form) as lines:
        try:
            names = next(csv.reader(lines, delimiter=form.delimiter), [])
        except csv.Error as error:
            raise DataError(f"{source.name}:{form.above + 1}: not CSV: {error}") from None
    if not any(names):
        what = "must name the columns" if form.headed else "tells how many columns there are"
        raise DataError(f"{source.name}:{form.above + 1}: the first line {what}, and it is empty: there is no column")
    header = tuple(name.strip() for name in names) if form.headed else column_names(len(names))
    return replace(form, header=header)


def _fitness(source: Source, wanted: Sequence[str]) -> Callable[[_Form], tuple[int, ...]]:
    """How well a form fits: by names, or without a header by the rows of one width; commas stand in texts, too."""

    def fitness(form: _Form) -> tuple[int, ...]:
        there, width = sum(name in form.header for name in wanted), len(form.header)
        if form.headed:
            return there, width
        return there, _even(source, form), width > 1 and form.delimiter != ",", width

    return fitness


def _even(source: Source, form: _Form) -> int:
    """How many of the first rows have as many cells as there are columns."""
    with _below(source, form) as lines:
        try:
            rows = list(islice(csv.reader(lines, delimiter=form.delimiter), _SAMPLE))
        except csv.Error:
            return 0
    return sum(len(cells) == len(form.header) for cells in rows)


def _holds(source: Source, encoding: Encoding, text: str) -> bool:
    with decoded(source.opened, encoding) as lines:
        return any(text in line for line in lines)


def _better(source: Source, form: _Form, other: _Form) -> _Form:
    """``other``, if all its rows are as wide as the header, and ``form`` has such that are not, or that ate others."""
    count = _count(source, other)
    return other if count is not None and count > (_count(source, form) or 0) else form


def _count(source: Source, form: _Form) -> int | None:
    """How many rows there are, None if one is not as wide as the header, or can't be read."""
    filled: list[int] = []
    try:
        count = sum(1 for _ in _rows(source, form, filled))
    except DataError:
        return None
    return None if filled else count


def _rows(source: Source, form: _Form, filled: list[int]) -> Iterator[Row]:
    """The rows. The numbers of those with too few cells go into ``filled``; their missing cells are empty."""
    width = len(form.header)
    with _below(source, form) as lines:
        reader = csv.reader(
            lines,
            delimiter=form.delimiter,
            quoting=csv.QUOTE_MINIMAL if form.quotes else csv.QUOTE_NONE,
            escapechar=form.escape,
            strict=True,
        )
        try:
            if form.headed:
                next(reader)
            start = reader.line_num + form.above + 1
            for cells in reader:
                if cells:
                    if len(cells) > width:
                        _check_empty(cells[width:], form, f"{source.name}:{start}: {len(cells)} cells")
                    elif len(cells) < width:
                        filled.append(start)
                        cells += [""] * (width - len(cells))
                    yield Row(start, dict(zip(form.header, cells, strict=False)))
                start = reader.line_num + form.above + 1
        except csv.Error as error:
            line = reader.line_num + form.above
            raise DataError(f"{source.name}:{line}: not CSV: {error}; look for a lone double quote") from None


def _check_empty(cells: Sequence[str], form: _Form, what: str) -> None:
    """Raise DataError if ``cells``, which the header has no names for, hold anything; delimiters at the end don't."""
    if any(cells):
        raise DataError(
            f"{what}, but the {'header names' if form.headed else 'first row has'} {len(form.header)}; "
            f'put cells that hold a "{form.delimiter}" or a line break in double quotes'
        )
