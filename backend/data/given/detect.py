"""What kind of file answers are in: by its name, its first row or its columns, unless somebody says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from nextlabel.backend.data.reading import ReadingOptions
from nextlabel.backend.data.rows import Table
from nextlabel.backend.data.sources import find_source
from nextlabel.backend.data.tables import open_table
from nextlabel.connectors.errors import ConfigError, DataError

from .answers import FORMATS, Reading, Wanted
from .from_platforms import (
    is_argilla,
    is_argilla_dataset,
    is_label_studio,
    is_label_studio_min,
    read_argilla,
    read_argilla_dataset,
    read_label_studio,
    read_label_studio_min,
)
from .from_tables import read_table
from .from_texts import is_conll, is_spacy, read_conll, read_spacy
from .from_tools import is_doccano, is_prodigy, read_doccano, read_prodigy

EXPORTED: Final = {"uid", "annotation", "annotator", "annotator_id", "answer", "updated_at"}
"""Columns of what ``nextlabel export --each`` writes."""
CONLL: Final = {".conll", ".conllu", ".conll2003", ".iob", ".iob2", ".bio", ".bioes"}
TEXT: Final = {".txt", ".tsv", ".tags", ""}
_READERS: Final[Mapping[str, Callable[[Table, Wanted], Reading]]] = {
    "label-studio": read_label_studio,
    "label-studio-min": read_label_studio_min,
    "argilla": read_argilla,
    "argilla-dataset": read_argilla_dataset,
    "doccano": read_doccano,
    "prodigy": read_prodigy,
    "nextlabel": lambda table, wanted: read_table(table, wanted, "nextlabel"),
    "table": lambda table, wanted: read_table(table, wanted, "table"),
}


def open_given(source: str, wanted: Wanted, format_: str | None = None) -> Reading:
    """Open a file, folder or data set with answers; read as ``format_`` says, or as what it is.

    Raises ConfigError for a format that there is none of, DataError for what can't be read, MissingExtra for .spacy
    files without spaCy.
    """
    if format_ is not None and format_ not in FORMATS:
        raise ConfigError(f"--format {format_}: there is no such format; there are {', '.join(FORMATS)}")
    if (format_ or _by_name(source, wanted)) in ("spacy", "conll"):
        found = find_source(source)
        if found is None:
            raise DataError(f"{source}: a file is expected")
        return read_spacy(found, wanted) if format_ == "spacy" or is_spacy(source) else read_conll(found, wanted)
    named = [name for name in (wanted.label, wanted.annotator, wanted.time, wanted.id) if name and "." in name]
    paths = named if format_ in (None, "table") else []
    table, first = _peeked(open_table(source, (), wanted.options) if not paths else _opened(source, paths, wanted))
    return _READERS[format_ or _by_content(table, first, wanted)](table, wanted)


def _opened(source: str, paths: list[str], wanted: Wanted) -> Table:
    """With what stands at the ends of paths as columns, where there are such."""
    try:
        return open_table(source, paths, wanted.options)
    except DataError:
        return open_table(source, (), wanted.options)


def _peeked(table: Table) -> tuple[Table, Mapping[str, Any]]:
    first = list(islice(table.rows, 1))
    return replace(table, rows=chain(first, table.rows)), first[0].values if first else {}


def _by_name(source: str, wanted: Wanted) -> str:
    """Whether it is "spacy" or "conll"; empty where the content has to tell."""
    if is_spacy(source):
        return "spacy"
    suffix = Path(source).suffix.lower()
    if suffix in CONLL:
        return "conll"
    if suffix not in TEXT or not wanted.marks or not Path(source).expanduser().is_file():
        return ""
    found = find_source(source)
    return "conll" if found is not None and is_conll(found, wanted.options) else ""


def is_tagged(source: str, options: ReadingOptions) -> bool:
    """Whether ``source`` is a file with a token and a tag in each line (CoNLL), by its name or its beginning."""
    return _by_name(source, Wanted("", (), {}, marks=True, options=options)) == "conll"


def _by_content(table: Table, first: Mapping[str, Any], wanted: Wanted) -> str:
    if wanted.annotator_columns or wanted.flags:
        return "table"
    if is_label_studio(first):
        return "label-studio"
    if is_label_studio_min(first):
        return "label-studio-min"
    if is_argilla(first):
        return "argilla"
    if is_argilla_dataset(table.columns):
        return "argilla-dataset"
    if is_prodigy(first):
        return "prodigy"
    if set(table.columns) >= EXPORTED:
        return "nextlabel"
    if is_doccano(first) and not (wanted.label or wanted.annotator):
        return "doccano"
    return "table"
