"""MAMI: memes, each an image and the words on it, labelled for misogyny and its kinds.

Fersini et al., "SemEval-2022 Task 5: Multimedia Automatic Misogyny Identification". The organisers give it to who
asks: a folder with ``training.csv`` and the images beside it, tab-separated with the columns ``file_name``,
``misogynous``, ``shaming``, ``stereotype``, ``objectification``, ``violence`` and ``Text Transcription``. The test
data come in the same form without labels (``Test.csv``), which are in ``test_labels.txt``, without a header.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nextlabel.backend.data.tables import Row, Table
from nextlabel.connectors.errors import DataError

ADDRESS = "https://forms.gle/AGWMiGicBHiQx4q98"

FILE, MISOGYNOUS, TEXT = "file_name", "misogynous", "Text Transcription"
KINDS = ("shaming", "stereotype", "objectification", "violence")
ANSWERS = (MISOGYNOUS, *KINDS)
NOT = "not misogynous"
TABLES = ("training.csv", "Training.csv", "test.csv", "Test.csv", "trial.csv")
TEST_LABELS = "test_labels.txt"
COLUMNS = ("id", "text", "image", "label")


@dataclass(frozen=True, slots=True)
class Meme:
    """One row. ``kinds`` None where the labels are not given; empty for a meme that is not misogynous."""

    file_name: str
    text: str
    image: Path
    misogynous: bool | None
    kinds: tuple[str, ...] | None


def open_mami(source: str = "") -> Table:
    """The memes as a table with the columns COLUMNS; ``image`` is the path of the file.

    Raises DataError that names the file, the line and the fix; without ``source``, it says how to get the data.
    """
    if not source:
        raise DataError(
            f"MAMI's memes are given on request only: ask at {ADDRESS}, unpack them, and give the folder that holds "
            f"{TABLES[0]} and the images with --data"
        )
    return Table(source, "row", COLUMNS, _rows(read_mami(source)))


def _rows(memes: tuple[Meme, ...]) -> Iterator[Row]:
    for number, meme in enumerate(memes, start=1):
        label = None if meme.misogynous is None else MISOGYNOUS if meme.misogynous else NOT
        yield Row(number, dict(zip(COLUMNS, (uid(meme.file_name), meme.text, str(meme.image), label), strict=True)))


def uid(file_name: str) -> str:
    """The id of the record of an image."""
    return f"mami-{PurePosixPath(file_name).stem}"


def read_mami(path: str | Path) -> tuple[Meme, ...]:
    """Read ``path``: the folder of the images and their table, or the table itself.

    Raises DataError, which names the file, the line and the fix. The images are not looked at.
    """
    table = _table(Path(path).expanduser())
    given = _test_labels(table.parent)
    memes: dict[str, Meme] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, delimiter="\t")
            columns = rows.fieldnames or ()
            wanted = (FILE, TEXT, *(ANSWERS if MISOGYNOUS in columns else ()))
            if absent := [column for column in wanted if column not in columns]:
                raise DataError(
                    f"{table}: has no column {absent[0]!r} (it has {', '.join(columns) or 'none'}); "
                    "MAMI's tables are tab-separated"
                )
            for row in rows:
                meme = _meme(table, rows.line_num, row, given)
                if meme.file_name in memes:
                    raise DataError(f"{table}: line {rows.line_num}: {meme.file_name} was there before")
                memes[meme.file_name] = meme
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{table}: can't be read: {error}") from None
    return tuple(memes.values())


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    found = next((path / name for name in TABLES if (path / name).is_file()), None)
    if found is None:
        raise DataError(f"{path}: there is no {TABLES[0]} in it; give MAMI's folder, or the table itself")
    return found


def _meme(table: Path, line: int, row: Mapping[str, str | None], given: Mapping[str, tuple[bool, ...]]) -> Meme:
    name = (row[FILE] or "").strip()
    # The name becomes a path and an address, so nothing else may hide in it.
    if not name or name != PurePosixPath(name).name or "\\" in name:
        raise DataError(f"{table}: line {line}: {name!r} is no file name; images lie beside the table")
    if row[TEXT] is None:
        raise DataError(f"{table}: line {line}: the row is cut off; it needs {TEXT!r}")
    if MISOGYNOUS in row:
        flags = tuple(_flag(table, line, column, row[column]) for column in ANSWERS)
    elif name in given:
        flags = given[name]
    else:
        return Meme(name, row[TEXT] or "", table.parent / name, None, None)
    kinds = tuple(kind for kind, on in zip(KINDS, flags[1:], strict=True) if on)
    return Meme(name, row[TEXT] or "", table.parent / name, flags[0], kinds)


def _flag(table: Path, line: int, column: str, value: str | None) -> bool:
    if (value or "").strip() not in ("0", "1", "0.0", "1.0"):
        raise DataError(f"{table}: line {line}: {column} is {value!r}; it must be 0 or 1")
    return float(value or 0) == 1


def _test_labels(folder: Path) -> dict[str, tuple[bool, ...]]:
    """File name -> the five answers, from test_labels.txt; empty without that file."""
    file = next((place / TEST_LABELS for place in (folder, folder.parent) if (place / TEST_LABELS).is_file()), None)
    if file is None:
        return {}
    labels = {}
    for line, row in enumerate(csv.reader(file.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"), 1):
        if not row:
            continue
        if len(row) != 1 + len(ANSWERS):
            raise DataError(f"{file}: line {line}: has {len(row)} columns; {1 + len(ANSWERS)} are needed")
        labels[row[0]] = tuple(_flag(file, line, column, value) for column, value in zip(ANSWERS, row[1:], strict=True))
    return labels
