"""AMI: tweets labelled for misogyny and its kind, as given to the participants of IberEval and Evalita 2018.

Fersini et al., "Overview of the Task on Automatic Misogyny Identification at IberEval 2018". The organisers give the
data to who asks: a table with the columns ``id``, ``text`` (or ``tweet``), ``misogynous`` (0 or 1),
``misogyny_category`` (0 where it is not) and ``target``, with commas, semicolons or tabs between them.

Multilingual HateCheck: short made-up texts, hateful or not, each written after a template.

Röttger et al., "Multilingual HateCheck: Functional Tests for Multilingual Hate Speech Detection Models", WOAH 2022.
CC BY 4.0. The file of the final cases has the columns ``mhc_case_id``, ``functionality``, ``test_case``,
``label_gold``, ``target_ident``, ``templ_id`` and others. Texts of one ``templ_id`` differ in a word: folds must
keep them together. ``functionality`` tells the label by its ending, and must not be shown.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from nextlabel.backend.data.sources import FILE_SUFFIXES
from nextlabel.backend.data.tables import Row, Table, check_columns, open_table
from nextlabel.connectors.errors import DataError

from . import fetched

ADDRESS = "https://amiibereval2018.wordpress.com"
FILE = "es_AMI_TrainingSet_NEW.csv"

NOT = "non-misogynous"
CATEGORIES = {
    "stereotype": "stereotype & objectification",
    "dominance": "dominance",
    "derailing": "derailing",
    "sexual_harassment": "sexual harassment & threats of violence",
    "discredit": "discredit",
}
"""What stands in the column -> our label."""

LABELS = (NOT, *CATEGORIES.values())

COMMIT = "a03f2caf2023a402d85064bda243e46d280408f0"
FOLDER = "MHC Final Cases"
HATECHECK_LABELS = ("hateful", "non-hateful")
HATECHECK_COLUMNS = ("mhc_case_id", "functionality", "test_case", "label_gold", "target_ident", "templ_id")


def open_ami(source: str = "") -> Table:
    """The tweets as a table: ``id``, ``text``, ``label`` (one of LABELS; None if not given) and ``target``.

    Raises DataError that names the file, the line and the fix; without ``source``, it says how to get the data.
    """
    if not source:
        raise DataError(
            f"AMI's tweets are given on request only: ask at {ADDRESS}, and give the table (as {FILE}) with --data; "
            "misogyny-es-hatecheck is a free stand-in"
        )
    path = Path(source).expanduser()
    if path.is_dir():
        path /= FILE
    table = open_table(str(path), ("id",))
    labelled = "misogynous" in table.columns
    text = "tweet" if "text" not in table.columns and "tweet" in table.columns else "text"
    # Test data come without the last three columns.
    check_columns(table, ("id", text, *(("misogyny_category",) if labelled else ())))
    found = (
        Row(
            row.number,
            {
                "id": row.values["id"],
                "text": row.values[text],
                "label": _label(table, row) if labelled else None,
                "target": row.values.get("target"),
            },
        )
        for row in table.rows
    )
    return replace(table, columns=("id", "text", "label", "target"), rows=found)


def _label(table: Table, row: Row) -> str:
    misogynous = str(row.values["misogynous"]).strip()
    category = str(row.values["misogyny_category"]).strip().lower()
    if misogynous not in ("0", "1"):
        raise DataError(f"{table.name}:{row.number}: misogynous is {misogynous!r}; it must be 0 or 1")
    if misogynous == "0":
        return NOT
    if category not in CATEGORIES:
        raise DataError(
            f"{table.name}:{row.number}: misogyny_category is {category!r}; it must be one of {', '.join(CATEGORIES)}"
        )
    return CATEGORIES[category]


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
    table = open_table(str(path), HATECHECK_COLUMNS)
    return replace(table, rows=(_checked(table, row) for row in table.rows))


def _checked(table: Table, row: Row) -> Row:
    label = str(row.values["label_gold"]).strip()
    if label not in HATECHECK_LABELS:
        raise DataError(
            f"{table.name}:{row.number}: label_gold is {label!r}; it must be one of {', '.join(HATECHECK_LABELS)}"
        )
    return row
