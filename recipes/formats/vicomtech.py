"""Vicomtech's forum sentences, labelled for hate: as they are published, and joined to one table.

de Gibert et al., "Hate Speech Dataset from a White Supremacy Forum", ALW2 2018. CC BY-SA 3.0.
https://github.com/Vicomtech/hate-speech-dataset holds ``annotations_metadata.csv`` (``file_id``, ``user_id``,
``subforum_id``, ``num_contexts``, ``label``) and a text a sentence, ``all_files/FILE_ID.txt``; copies of the balanced
part are in ``sampled_train`` and ``sampled_test``. The joined form is one CSV with the columns ``text`` and ``split``
(``sampled_train``, ``sampled_test`` or empty) besides.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

from nextlabel.backend.data.sources import FILE_SUFFIXES
from nextlabel.backend.data.tables import Row, Table, open_table
from nextlabel.connectors.errors import DataError

from . import MAX_BYTES, fetched

COMMIT = "b802137e8314c38a8d4faa965f9908d6c8e7a84d"
ADDRESS = f"https://github.com/Vicomtech/hate-speech-dataset/archive/{COMMIT}.zip"

METADATA, TEXTS, SAMPLES = "annotations_metadata.csv", "all_files", ("sampled_train", "sampled_test")
LABELS = ("hate", "noHate")
LEFT_OUT = ("relation", "idk/skip")
"""Sentences that are hateful only beside others, and those that the annotators could not tell."""

COLUMNS = ("file_id", "user_id", "subforum_id", "num_contexts", "label")
JOINED = (*COLUMNS, "text", "split")


def open_vicomtech(source: str = "") -> Table:
    """The sentences labelled hate or noHate, as a table with the columns JOINED; the others are counted.

    ``source`` is a folder or .zip laid out like the repository, the joined CSV, or empty: the repository, downloaded.
    Raises DataError that names the file, the line and the fix.
    """
    path = Path(source).expanduser() if source else fetched(ADDRESS, f"hate-speech-dataset-{COMMIT[:12]}.zip")
    if path.suffix.lower() in FILE_SUFFIXES:
        table = open_table(str(path), JOINED)
        rows = [_labelled(table, row) for row in table.rows]
    else:
        table, rows = _repository(path)
    counts = Counter(str(row.values["label"]) for row in rows)
    left_out = ", ".join(f"{counts[label]:,} {label}" for label in LEFT_OUT if counts[label])
    remark = "; ".join(filter(None, [table.remark, f"left out: {left_out}" if left_out else ""]))
    kept = (row for row in rows if row.values["label"] in LABELS)
    return Table(table.name, table.what, JOINED, kept, remark)


def _labelled(table: Table, row: Row) -> Row:
    label = str(row.values["label"] or "").strip()
    if label not in LABELS and label not in LEFT_OUT:
        raise DataError(
            f"{table.name}:{row.number}: the label is {label!r}; it must be one of {', '.join((*LABELS, *LEFT_OUT))}"
        )
    return Row(row.number, {**row.values, "label": label})


def _repository(path: Path) -> tuple[Table, list[Row]]:
    """The table of the metadata, and its rows with their texts. An archive is unpacked for the moment."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the folder or the .zip of {ADDRESS}, or a joined .csv")
    with tempfile.TemporaryDirectory(prefix="nextlabel-") as unpacked:
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                    raise DataError(f"{path}: holds more than {MAX_BYTES:,} bytes; this can't be the data")
                archive.extractall(unpacked)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{path}: can't be read as a .zip ({error}); download it again, or unpack it") from None
        table, rows = _folder(Path(unpacked))
        return replace(table, name=f"{path}/{METADATA}"), rows


def _folder(path: Path) -> tuple[Table, list[Row]]:
    # An archive of GitHub has one folder around everything.
    root = next((place for place in (path, *sorted(path.glob("*/"))) if (place / METADATA).is_file()), None)
    if root is None:
        raise DataError(f"{path}: there is no {METADATA} in it; give the folder that holds it and {TEXTS}")
    table = open_table(str(root / METADATA), COLUMNS)
    sampled = {file.name: split for split in SAMPLES for file in (root / split).glob("*.txt")}
    rows = []
    for row in table.rows:
        labelled = _labelled(table, row)
        name = f"{row.values['file_id']}.txt"
        # The name becomes a path, so it must not lead elsewhere.
        if name != PurePosixPath(name).name or "\\" in name:
            raise DataError(f"{table.name}:{row.number}: {row.values['file_id']!r} can't name a file in {TEXTS}")
        try:
            text = (root / TEXTS / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{TEXTS}/{name}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
        except OSError:
            raise DataError(
                f"{table.name}:{row.number}: there is no {TEXTS}/{name} with its text; copy all of the repository"
            ) from None
        values = {**labelled.values, "text": text.strip(), "split": sampled.get(name, "")}
        rows.append(Row(row.number, values))
    return table, rows
