"""MAMI: memes, each an image and the words on it, labelled for misogyny and its kinds.

Fersini et al., "SemEval-2022 Task 5: Multimedia Automatic Misogyny Identification". The organisers give it to who
asks: a folder with ``training.csv`` and the images beside it, tab-separated with the columns ``file_name``,
``misogynous``, ``shaming``, ``stereotype``, ``objectification``, ``violence`` and ``Text Transcription``. The test
data come in the same form without labels (``Test.csv``), which are in ``test_labels.txt``, without a header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nextlabel.backend.data.cells import label_text
from nextlabel.backend.data.reading import ReadingOptions
from nextlabel.backend.data.tables import Row, Table, open_table
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
    file = _table(Path(path).expanduser())
    given = _test_labels(file.parent)
    table = _opened(file, header=True)
    if absent := [name for name in (FILE, TEXT, *_answers(table)) if name not in table.columns]:
        raise DataError(
            f"{file}: has no column {absent[0]!r} (it has {', '.join(table.columns)}); MAMI's tables are tab-separated"
        )
    memes: dict[str, Meme] = {}
    for row in _whole(table):
        meme = _meme(table, row, given)
        if meme.file_name in memes:
            raise DataError(f"{file}: line {row.number}: {meme.file_name} was there before")
        memes[meme.file_name] = meme
    return tuple(memes.values())


def _opened(file: Path, *, header: bool) -> Table:
    """The tab-separated table in ``file``. Raises DataError for one that is not UTF-8."""
    table = open_table(str(file), (), ReadingOptions(delimiter="\t", encoding="utf-8", header=header))
    if table.remark:
        raise DataError(f"{file}: {table.remark}; save it as UTF-8")
    return table


def _whole(table: Table) -> Iterator[Row]:
    """The rows. Raises DataError for one that has fewer cells than there are columns."""
    for row in table.rows:
        if table.filled:
            raise DataError(f"{table.name}: line {row.number}: is cut off; {len(table.columns)} columns are needed")
        yield row


def _answers(table: Table) -> tuple[str, ...]:
    """The columns of answers, none where there are none."""
    return ANSWERS if MISOGYNOUS in table.columns else ()


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    found = next((path / name for name in TABLES if (path / name).is_file()), None)
    if found is None:
        raise DataError(f"{path}: there is no {TABLES[0]} in it; give MAMI's folder, or the table itself")
    return found


def _meme(table: Table, row: Row, given: Mapping[str, tuple[bool, ...]]) -> Meme:
    name, text, folder = row.values[FILE].strip(), row.values[TEXT], Path(table.name).parent
    # The name becomes a path and an address, so nothing else may hide in it.
    if not name or name != PurePosixPath(name).name or "\\" in name:
        raise DataError(f"{table.name}: line {row.number}: {name!r} is no file name; images lie beside the table")
    if columns := _answers(table):
        flags = _flags(table, row, columns)
    elif name in given:
        flags = given[name]
    else:
        return Meme(name, text, folder / name, None, None)
    kinds = tuple(kind for kind, on in zip(KINDS, flags[1:], strict=True) if on)
    return Meme(name, text, folder / name, flags[0], kinds)


def _flags(table: Table, row: Row, columns: Sequence[str]) -> tuple[bool, ...]:
    """The answers in ``columns``. Raises DataError for what is neither 0 nor 1."""
    cells = [label_text(row.values[column]) for column in columns]
    for answer, cell in zip(ANSWERS, cells, strict=True):
        if cell not in ("0", "1"):
            raise DataError(f"{table.name}: line {row.number}: {answer} is {cell!r}; it must be 0 or 1")
    return tuple(cell == "1" for cell in cells)


def _test_labels(folder: Path) -> dict[str, tuple[bool, ...]]:
    """File name -> the five answers, from test_labels.txt; empty without that file."""
    file = next((place / TEST_LABELS for place in (folder, folder.parent) if (place / TEST_LABELS).is_file()), None)
    if file is None:
        return {}
    table = _opened(file, header=False)
    name, *answers = table.columns
    if len(answers) != len(ANSWERS):
        raise DataError(f"{file}: line 1: has {len(table.columns)} columns; {1 + len(ANSWERS)} are needed")
    return {row.values[name]: _flags(table, row, answers) for row in _whole(table)}
