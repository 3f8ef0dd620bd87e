"""Rows of a data file, one by one: CSV, JSON lines, Parquet, and what the ``datasets`` library can open.

A row comes with its place in the file, for error messages. Nothing is read into memory as a whole, except by
the libraries that insist.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from nextlabel.connectors.errors import DataError, MissingExtra

from .cells import LabelReader, value_text

FILE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet"})

_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DELIMITERS: Final = (",", ";", "\t", "|")
_LONGEST_CELL: Final = 2**31 - 1
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its ``number`` as people count in this kind of file (lines from 1), and its values by column."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """An opened source. ``what`` a number counts ("line" or "row"), the columns, a remark on how it was read."""

    name: str
    what: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    remark: str = ""


def open_table(source: str, wanted: Sequence[str], split: str = "train") -> Table:
    """Open ``source``: a .csv, .tsv, .jsonl or .parquet file, a folder saved by ``datasets``, or a hub name.

    Raises DataError if it can't be found or read, or lacks one of the ``wanted`` columns.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in FILE_SUFFIXES:
        if not path.is_file():
            raise DataError(f"{source}: there is no such file (looked in {path.absolute().parent})")
        try:
            if suffix == ".parquet":
                table = _parquet(path)
            elif suffix in (".jsonl", ".ndjson", ".json"):
                table = _json_lines(path)
            else:
                table = _csv(path, wanted)
        except OSError as error:
            raise DataError(f"{source}: can't be read: {error.strerror or error}") from None
    else:
        table = _dataset(source, split)
    check_columns(table, wanted)
    return table


def check_columns(table: Table, wanted: Sequence[str]) -> None:
    """Raise DataError if one of the ``wanted`` columns is not there, with the nearest one that is."""
    for column in wanted:
        if column not in table.columns:
            near = difflib.get_close_matches(column.lower(), {name.lower(): name for name in table.columns}, n=1)
            hint = next(
                (f", did you mean {name!r}?" for name in table.columns if near and name.lower() == near[0]), ";"
            )
            found = ", ".join(repr(name) for name in table.columns) or "none"
            raise DataError(f"{table.name}:1: there is no column {column!r}{hint} columns found: {found}")


# -- CSV ---------------------------------------------------------------------------------------------------------------


def encoding_of(path: Path) -> str:
    """What ``path`` is encoded in: what its byte order mark says, else UTF-8 if all of it decodes, else Latin-1."""
    with path.open("rb") as file:
        start = file.read(4)
        for mark, name in _BOMS:
            if start.startswith(mark):
                return name
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def _csv(path: Path, wanted: Sequence[str]) -> Table:
    encoding = encoding_of(path)
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline()
    if not first.strip():
        raise DataError(f"{path}:1: the first line must name the columns, and it is empty")
    headers = {mark: [name.strip() for name in next(csv.reader([first], delimiter=mark))] for mark in _DELIMITERS}
    # The delimiter is the one under which most of the wanted columns exist; the comma, if that decides nothing.
    delimiter = max(_DELIMITERS, key=lambda mark: (sum(name in headers[mark] for name in wanted), len(headers[mark])))
    header = headers[delimiter]
    repeated = {name for name in header if header.count(name) > 1 and name in wanted}
    if repeated:
        raise DataError(f"{path}:1: the column {repeated.pop()!r} is there twice; rename one")
    remark = "read as Latin-1, because it is not UTF-8" if encoding == "latin-1" else ""
    return Table(str(path), "line", tuple(header), _csv_rows(path, encoding, delimiter, header), remark)


def _csv_rows(path: Path, encoding: str, delimiter: str, header: list[str]) -> Iterator[Row]:
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            next(reader)
            start = reader.line_num + 1
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise DataError(
                        f"{path}:{start}: {len(cells)} cells, but the header names {len(header)}; "
                        f'put cells that hold a "{delimiter}" or a line break in double quotes'
                    )
                if cells:
                    yield Row(start, dict(zip(header, cells, strict=True)))
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not CSV: {error}; look for a lone double quote") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not {encoding}: {error.reason}; save it as UTF-8") from None


# -- JSON lines --------------------------------------------------------------------------------------------------------


def _json_lines(path: Path) -> Table:
    rows = _json_rows(path, encoding_of(path))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: empty; one JSON object a line is expected")
    return Table(str(path), "line", tuple(first.values), chain([first], rows))


def _json_rows(path: Path, encoding: str) -> Iterator[Row]:
    if encoding == "latin-1":
        raise DataError(f"{path}: not UTF-8, as JSON has to be; save it as UTF-8")
    with path.open(encoding=encoding) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                hint = f"; turn the list into lines: jq -c '.[]' {path}" if line.lstrip().startswith("[") else ""
                raise DataError(f"{path}:{number}: not a JSON object: {error}{hint}") from None
            if not isinstance(value, dict):
                raise DataError(f"{path}:{number}: a JSON object is expected, not a {type(value).__name__}")
            yield Row(number, value)


# -- Parquet and datasets ----------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException  # type: ignore[import-untyped]
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    try:
        file = ParquetFile(path)
    except ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None

    def rows() -> Iterator[Row]:
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values)

    return Table(str(path), "row", tuple(file.schema_arrow.names), rows())


def _dataset(source: str, split: str) -> Table:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    name = source.removeprefix("hf://")
    saved = Path(name).is_dir()
    try:
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except Exception as error:  # the library raises dozens of kinds, the hub's client more
        where = "a folder saved by datasets" if saved else "a file, a folder or a data set of the hub"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source}: can't be opened as {where}: {reason:.300}") from None
    if isinstance(found, dict):
        if split not in found:
            raise DataError(f"{source}: there is no split {split!r}; set split to one of {', '.join(found)}")
        found = found[split]
    for key, feature in found.features.items():
        if isinstance(feature, datasets.Image) and feature.decode:
            found = found.cast_column(key, datasets.Image(decode=False))  # its bytes: what is broken is ours to tell
    names = {key: feature.names for key, feature in found.features.items() if hasattr(feature, "names")}

    def rows() -> Iterator[Row]:
        for number, values in enumerate(found, start=1):
            for key, labels in names.items():  # class labels are stored as numbers; -1 means none
                index = values[key]
                values[key] = labels[index] if isinstance(index, int) and index >= 0 else None
            yield Row(number, values)

    return Table(source, "row", tuple(found.column_names), rows())


def cell_text(table: Table, row: Row, column: str, *, whole: bool = True) -> str:
    """A cell as text, see value_text. Raises DataError that says where."""
    with naming_cell(table, row, column):
        return value_text(row.values.get(column), whole=whole)


def cell_label(table: Table, row: Row, column: str, reader: LabelReader) -> str:
    """A cell's label, see label_text. Raises DataError that says where."""
    with naming_cell(table, row, column):
        return reader.read(row.values.get(column))


@contextmanager
def naming_cell(table: Table, row: Row, column: str) -> Iterator[None]:
    """Name the cell in a DataError of what is done with its value."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{table.name}:{row.number}: the column {column!r} {error}") from None
