"""Rows of a data file, one by one: tables of text, JSON, Parquet, sheets, and what the ``datasets`` library can open.

A row comes with its place in the file, for error messages. Nothing is read into memory as a whole, except JSON arrays,
and by the libraries that insist.
"""

from __future__ import annotations

import difflib
import fnmatch
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nextlabel.connectors.errors import DataError, MissingExtra

from .cells import LabelReader, value_text
from .delimited import open_delimited
from .json_rows import open_json
from .reading import NOTHING_SAID, ReadingOptions, column_names
from .rows import Row, Table, first_few
from .sources import FILE_SUFFIXES, UNREADABLE, Source, find_source

__all__ = ["Row", "Table", "at_cell", "cell_label", "cell_text", "check_columns", "matching", "open_table"]

_JSON: Final = frozenset({".jsonl", ".ndjson", ".json"})
_NAMED: Final = 30  # columns, in an error
_SHEETS: Final = frozenset({".xlsx", ".xls", ".xlsb", ".ods"})


def open_table(source: str, wanted: Sequence[str], options: ReadingOptions = NOTHING_SAID) -> Table:
    """Open ``source``: a file (packed, on the web, ``-`` for standard input), a folder of data, a hub name.

    A file is delimited text, JSON, Parquet or a sheet; what its name doesn't say, its first bytes do. A ``wanted``
    column may be a path into objects and lists: ``meta.text``, ``annotations.0.label``.
    Raises DataError if it can't be found or read, lacks one of the ``wanted`` columns, or is of a kind that some of
    the ``options`` mean nothing for.
    """
    with _told(source):
        found = find_source(source)
        table = _dataset(source, options) if found is None else _file(found, wanted, options)
    table = _with_nested(table, wanted)
    check_columns(table, wanted)
    return replace(table, rows=_rows_told(table))


def _rows_told(table: Table) -> Iterator[Row]:
    with _told(table.name):
        yield from table.rows


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Say of which file it is that the disk, or what unpacks it, complains."""
    try:
        yield
    except UNREADABLE as error:
        raise DataError(f"{source}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def _file(source: Source, wanted: Sequence[str], options: ReadingOptions) -> Table:
    suffix = _suffix_by_content(source, ".csv" if options.said("delimiter", "header") else ".json")
    if suffix == ".parquet":
        _refuse(source.name, "a Parquet file", options.said("delimiter", "encoding", "header"))
        return _parquet(source)
    if suffix in _SHEETS:
        _refuse(source.name, "a sheet", options.said("delimiter", "encoding"))
        return _sheet(source, options)
    if suffix in _JSON:
        _refuse(source.name, "JSON", options.said("delimiter", "header"))
        return open_json(source, options)
    return open_delimited(source, wanted, options)


def _refuse(source: str, what: str, said: Sequence[str]) -> None:
    """Raise DataError if anything was ``said`` that means nothing for such a source."""
    if said:
        raise DataError(f"{source}: {what} has no {' and no '.join(said)} to be said; leave that out")


def _suffix_by_content(source: Source, bracketed: str) -> str:
    """What the name says, unless there is nothing, or a sheet or Parquet goes by the name of something else.

    Without a name, what begins with a bracket is ``bracketed``.
    """
    with source.opened() as file:
        start = file.read(64)
    if start.startswith(b"PAR1"):
        return ".parquet"
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return ".xlsx"
    if source.suffix in FILE_SUFFIXES:
        return source.suffix
    return bracketed if start.lstrip().startswith((b"{", b"[")) else ".csv"


def _with_nested(table: Table, wanted: Sequence[str]) -> Table:
    """The table with the ``wanted`` paths into its columns as columns of their own."""
    paths = [name for name in wanted if name not in table.columns and name.split(".")[0] in table.columns]
    if not paths:
        return table
    rows = (
        Row(row.number, {**row.values, **{name: _value_at(row.values, name) for name in paths}}) for row in table.rows
    )
    return replace(table, columns=(*table.columns, *paths), rows=rows)


def _value_at(value: Any, path: str) -> Any:
    """What stands at the end of ``path`` in objects and lists, None if it leads nowhere."""
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def check_columns(table: Table, wanted: Sequence[str]) -> None:
    """Raise DataError if one of the ``wanted`` columns is not there, with the nearest one that is."""
    for column in wanted:
        if column not in table.columns:
            near = difflib.get_close_matches(column.lower(), {name.lower(): name for name in table.columns}, n=1)
            hint = next(
                (f", did you mean {name!r}?" for name in table.columns if near and name.lower() == near[0]), ";"
            )
            found = first_few([repr(name[:40]) for name in table.columns], _NAMED) or "none"
            if table.headed and not set(wanted) & set(table.columns) and not near:
                found += "; if these are no names, write a first line that names the columns, or say --no-header"
                found += " (in a recipe, header: false): then they are 'column 1', 'column 2' and on"
            raise DataError(f"{table.name}:1: there is no column {column!r}{hint} columns found: {found}")


def matching(table: Table, columns: Sequence[str], id_column: str = "") -> list[str]:
    """The columns that ``columns`` names or matches, in the order of the table. Raises DataError if one finds none."""
    found: set[str] = set()
    for pattern in columns:
        some = {name for name in table.columns if name != id_column and fnmatch.fnmatchcase(name, pattern)}
        if not some:
            shown = ", ".join(table.columns[:8]) + (", ..." if len(table.columns) > 8 else "")
            raise DataError(f"{table.name}: no column is called {pattern!r}; there are {shown}")
        found |= some
    return [name for name in table.columns if name in found]


# -- Parquet and datasets ----------------------------------------------------------------------------------------------


def _parquet(source: Source) -> Table:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    try:
        file = ParquetFile(_in_memory(source) if source.path is None else pyarrow.OSFile(str(source.path)))
    except pyarrow.ArrowException as error:
        raise DataError(f"{source.name}: not a Parquet file: {error}") from None

    named = _class_labels(file.schema_arrow)

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, _with_names(values, named))
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{source.name}: can't be read after row {number}: {error}") from None

    return Table(source.name, "row", tuple(file.schema_arrow.names), rows())


def _class_labels(schema: Any) -> dict[str, list[str]]:
    """The names of class labels by column, where ``datasets`` wrote the file."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    return _names_by_column(datasets.Features.from_arrow_schema(schema))


def _in_memory(source: Source) -> io.BytesIO:
    with source.opened() as file:
        return io.BytesIO(file.read())


def _sheet(source: Source, options: ReadingOptions) -> Table:
    """The first sheet; the others are named in the remark."""
    try:
        import pandas
        import python_calamine
    except ImportError as error:
        raise MissingExtra(error.name or "pandas", "train") from None
    try:
        with pandas.ExcelFile(_in_memory(source), engine="calamine") as book:
            first, *others = map(str, book.sheet_names)
            header = 0 if options.header else None
            sheet = pandas.read_excel(book, dtype=object, keep_default_na=False, header=header)
    except (ValueError, python_calamine.CalamineError) as error:
        raise DataError(f"{source.name}: not a sheet that can be read: {error}") from None
    names = tuple(str(name).strip() for name in sheet.columns)
    columns = names if options.header else column_names(len(names))
    first_row = 2 if options.header else 1
    rows = (
        Row(number, dict(zip(columns, cells, strict=True)))
        for number, cells in enumerate(sheet.itertuples(index=False, name=None), start=first_row)
    )
    remark = f"the sheet {first!r} was read, and not {', '.join(map(repr, others))}" if others else ""
    return Table(source.name, "row", columns, rows, remark, headed=options.header)


def _dataset(source: str, options: ReadingOptions) -> Table:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    said = options.said("delimiter", "encoding", "header")
    _refuse(source, "a folder or a data set of the hub", said)
    split, folder = options.split, Path(source).expanduser()
    name = str(folder) if folder.is_dir() else source.removeprefix("hf://")
    saved = any((folder / mark).exists() for mark in ("dataset_info.json", "dataset_dict.json", "state.json"))
    try:
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except Exception as error:  # the library raises dozens of kinds, the hub's client more
        where = "a folder of data" if folder.is_dir() else "a file, a folder or a data set of the hub"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source}: can't be opened as {where}: {reason:.300}") from None
    if isinstance(found, dict):
        if split not in found:
            raise DataError(f"{source}: there is no split {split!r}; set split to one of {', '.join(found)}")
        found = found[split]
    for key, feature in found.features.items():
        if isinstance(feature, datasets.Image) and feature.decode:
            found = found.cast_column(key, datasets.Image(decode=False))  # its bytes: what is broken is ours to tell
    named = _names_by_column(found.features)

    def rows() -> Iterator[Row]:
        for number, values in enumerate(found, start=1):
            yield Row(number, _with_names(values, named))

    return Table(source, "row", tuple(found.column_names), rows())


def _names_by_column(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of each column that is a ClassLabel, or a list of them."""
    found = {}
    for column, feature in features.items():
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names:
            found[column] = list(names)
    return found


def _with_names(values: Mapping[str, Any], named: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    return (
        {**values, **{column: _names_of(values[column], names) for column, names in named.items()}} if named else values
    )


def _names_of(value: Any, names: Sequence[str]) -> Any:
    """Class labels are stored as numbers; -1 means none."""
    if isinstance(value, list):
        return [_names_of(one, names) for one in value]
    return names[value] if isinstance(value, int) and value >= 0 else None


def cell_text(table: Table, row: Row, column: str, *, whole: bool = True) -> str:
    """A cell as text, see value_text. Raises DataError that says where."""
    try:
        return value_text(row.values.get(column), whole=whole)
    except DataError as error:
        raise at_cell(table, row, column, error) from None


def cell_label(table: Table, row: Row, column: str, reader: LabelReader) -> str:
    """A cell's label, see label_text. Raises DataError that says where."""
    try:
        return reader.read(row.values.get(column))
    except DataError as error:
        raise at_cell(table, row, column, error) from None


def at_cell(table: Table, row: Row, column: str, error: DataError) -> DataError:
    """``error``, which says what is wrong with a cell, with its place."""
    return DataError(f"{table.name}:{row.number}: the column {column!r} {error}")
