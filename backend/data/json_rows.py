"""JSON: an object a line, or one array of objects. Every row's keys are columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nextlabel.connectors.errors import DataError

from .encodings import Encoding, decoded, encoding_of
from .reading import NOTHING_SAID, ReadingOptions
from .rows import Row, Table
from .sources import Source


def open_json(source: Source, options: ReadingOptions = NOTHING_SAID) -> Table:
    """The table in ``source``. It is read once for the columns, an array into memory as a whole.

    Raises DataError that names the line: for what is not JSON, or no object.
    """
    encoding = encoding_of(source.opened, options.encoding)
    if options.encoding is None and not encoding.unicode:
        raise DataError(f"{source.name}: not UTF-8, as JSON has to be; save it as UTF-8, or say its encoding")
    if _is_array(source, encoding):
        rows = list(_array(source, encoding))
        columns = dict.fromkeys(key for row in rows for key in row.values)
        return Table(source.name, "row", tuple(columns), iter(rows), encoding.remark)
    columns = dict.fromkeys(key for row in _lines(source, encoding) for key in row.values)
    if not columns:
        raise DataError(f"{source.name}: empty; one JSON object a line is expected, or an array of them")
    return Table(source.name, "line", tuple(columns), _lines(source, encoding), encoding.remark)


def _is_array(source: Source, encoding: Encoding) -> bool:
    with decoded(source.opened, encoding) as lines:
        first = next((line.lstrip() for line in lines if line.strip()), "")
    return first.startswith("[")


def _array(source: Source, encoding: Encoding) -> Iterator[Row]:
    try:
        with decoded(source.opened, encoding) as text:
            values = json.load(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source.name}: not a JSON array: {error}") from None
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(f"{source.name}: a JSON object is expected as row {number}, not a {type(value).__name__}")
        yield Row(number, value)


def _lines(source: Source, encoding: Encoding) -> Iterator[Row]:
    with decoded(source.opened, encoding) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            value = _parsed(line, f"{source.name}:{number}")
            if not isinstance(value, dict):
                raise DataError(f"{source.name}:{number}: a JSON object is expected, not a {type(value).__name__}")
            yield Row(number, value)


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a JSON object: {error}; write one a line, or an array of them") from None
