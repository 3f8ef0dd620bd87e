"""Multilingual HateCheck: short made-up texts, hateful or not, each written after a template.

Röttger et al., "Multilingual HateCheck: Functional Tests for Multilingual Hate Speech Detection Models", WOAH 2022.
CC BY 4.0. The file of the final cases has the columns ``mhc_case_id``, ``functionality``, ``test_case``,
``label_gold``, ``target_ident``, ``templ_id`` and others. Texts of one ``templ_id`` differ in a word: folds must
keep them together. ``functionality`` tells the label by its ending, and must not be shown.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from nextlabel.backend.data.tables import FILE_SUFFIXES, Row, Table, open_table
from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.download import fetched

COMMIT = "a03f2caf2023a402d85064bda243e46d280408f0"
FOLDER = "MHC Final Cases"
LABELS = ("hateful", "non-hateful")
COLUMNS = ("mhc_case_id", "functionality", "test_case", "label_gold", "target_ident", "templ_id")


def file_name(language: str) -> str:
    """Of the final cases in ``language``: its English name, in small letters."""
    return f"hatecheck_cases_final_{language}.csv"


def address(language: str) -> str:
    """Where the final cases in ``language`` are."""
    place = quote(f"{FOLDER}/{file_name(language)}")
    return f"https://raw.githubusercontent.com/rewire-online/multilingual-hatecheck/{COMMIT}/{place}"


def open_hatecheck(source: str = "", language: str = "spanish") -> Table:
    """The final cases. ``source`` is their CSV, a folder that holds it, or empty: it is downloaded.

    Raises DataError that names the file, the line and the fix.
    """
    path = Path(source).expanduser() if source else fetched(address(language), file_name(language))
    if path.is_dir() or path.suffix.lower() not in FILE_SUFFIXES:
        path /= file_name(language)
    table = open_table(str(path), COLUMNS)
    return Table(table.name, table.what, table.columns, (_checked(table, row) for row in table.rows), table.remark)


def _checked(table: Table, row: Row) -> Row:
    label = str(row.values["label_gold"]).strip()
    if label not in LABELS:
        raise DataError(f"{table.name}:{row.number}: label_gold is {label!r}; it must be one of {', '.join(LABELS)}")
    return row
