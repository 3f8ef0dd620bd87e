"""Rows, records with their answers, and texts with spans, as files that other programs read.

Whatever is interrupted leaves no half file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from nextlabel.connectors.errors import ConfigError


def write_rows(
    rows: Callable[[], Iterable[dict[str, Any]]], path: Path, columns: Sequence[str], form: str | None = None
) -> int:
    """Write what ``rows`` gives as .csv or .jsonl, or in one of these ``form``s, and return how many.

    A CSV has every column that any row has, so its rows are asked for twice; those in ``columns`` come first and are
    there without a row too.
    Raises ConfigError for another ending, or a place that can't be written.
    """
    form = path.suffix.lower().removeprefix(".") if form is None else form
    if form not in ("csv", "jsonl"):
        raise ConfigError(f"{path}: the file must end in .csv or .jsonl")
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        return _write_csv(rows, file, columns) if form == "csv" else _write_lines(rows(), file)


def write_list(items: Iterable[Any], path: Path) -> int:
    """Write ``items`` as one JSON list, an item a line, and return how many. Raises ConfigError as above."""
    count = 0
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for count, item in enumerate(items, 1):
            file.write(f"{'[' if count == 1 else ','}\n{json.dumps(item, ensure_ascii=False)}")
        file.write("\n]\n" if count else "[]\n")
    return count


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what becomes ``path`` at the end. Raises ConfigError for a place that can't be written."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)


def _write_csv(rows: Callable[[], Iterable[dict[str, Any]]], file: TextIO, columns: Sequence[str]) -> int:
    names = dict.fromkeys(columns)
    for row in rows():
        names.update(dict.fromkeys(row))
    writer = csv.DictWriter(file, list(names), extrasaction="ignore")  # what came in between waits for the next export
    writer.writeheader()
    count = 0
    for row in rows():
        count += 1
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return count


def _write_lines(rows: Iterable[dict[str, Any]], file: TextIO) -> int:
    count = 0
    for row in rows:
        count += 1
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _cell(value: Any) -> Any:
    """Labels joined by "|" are easy to read in a spreadsheet; anything richer is JSON."""
    if isinstance(value, list) and all(isinstance(part, str) and "|" not in part for part in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
