"""Rows as a table whose columns have types: Parquet, a folder of the ``datasets`` library, or a data set of the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextlabel.backend.questions import Question
from nextlabel.connectors.errors import ConfigError, MissingExtra

from .export import ANNOTATOR, RECORD_COLUMNS
from .export_files import replacing

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame

EXTRA = "train"
ANSWERS = ("answer", "prediction")
TYPES = {
    "uid": "string",
    "likely": "float64",
    "answers": "int64",
    "agreement": "float64",
    "adjudicated": "bool",
    "prediction_score": "float64",
    "prediction_unseen": "bool",
    "model_version": "string",
    "audit": "string",
    "copy_of": "string",
}
"""What each column holds, besides answers; as ``datasets`` calls it."""


def write_parquet(rows: Iterable[Mapping[str, Any]], path: Path, question: Question) -> int:
    """Write a Parquet file with labels as texts, spans as objects; return how many rows.

    Raises MissingExtra, and ConfigError for a place that can't be written.
    """
    try:
        from pandas import DataFrame
    except ImportError:
        raise MissingExtra("pandas", EXTRA) from None
    columns = _columns(rows, question)
    frame: DataFrame = DataFrame(columns)
    for name, kind in TYPES.items():
        if kind in ("string", "bool") and name in frame:
            frame[name] = frame[name].astype("string" if kind == "string" else "boolean")
    with replacing(path) as partial:
        frame.to_parquet(partial, index=False)
    return len(frame)


def as_dataset(rows: Iterable[Mapping[str, Any]], question: Question) -> Dataset:
    """The rows as a data set with a ClassLabel for every label; one that the question lacks is left out.

    Raises MissingExtra.
    """
    try:
        from datasets import ClassLabel, Dataset, Value
    except ImportError:
        raise MissingExtra("datasets", EXTRA) from None
    columns = _columns(rows, question, known=True)
    made = Dataset.from_dict(columns)
    answer = question.feature(ClassLabel(names=list(question.labeling.labels)))
    features = made.features.copy()
    for name in columns:
        if name in ANSWERS or name.startswith(ANNOTATOR):
            features[name] = answer
        elif name in TYPES:
            features[name] = Value(TYPES[name])
    return made.cast(features)


def write_dataset(made: Dataset, folder: Path) -> int:
    """Save the data set as a folder that ``datasets.load_from_disk`` reads; return how many rows it has.

    Raises ConfigError where something else is there already, or nothing can be written.
    """
    if folder.exists() and not (folder / "dataset_info.json").is_file():
        raise ConfigError(f"{folder} is there already, and no folder that `datasets` saved; name another")
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        made.save_to_disk(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise ConfigError(f"{folder} can't be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(made)


def push_dataset(made: Dataset, repository: str, *, private: bool = True) -> str:
    """Upload the data set to the hub as ``repository`` (OWNER/NAME), made if needed; return its address.

    The token is that of ``HF_TOKEN`` or ``hf auth login``. A repository that is there keeps its visibility. Raises
    ConfigError: no token, refused, no network, a name that can't be.
    """
    from huggingface_hub import get_token

    if not get_token():
        raise ConfigError(
            "there is no token for the hub; set HF_TOKEN (a token with the right to write), or log in: hf auth login"
        )
    try:
        done = made.push_to_hub(repository, private=private, commit_message="Labels of nextlabel")
    except Exception as error:  # of several libraries, and the offline mode
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"{repository} could not be uploaded ({type(error).__name__}: {reason}); check the name, which is "
            "OWNER/NAME, the token's rights and the network. What was written here is whole"
        ) from error
    return str(done.repo_url)


def _columns(rows: Iterable[Mapping[str, Any]], question: Question, *, known: bool = False) -> dict[str, list[Any]]:
    """Column -> one value per row; ``known``: answers without labels that the question lacks."""
    listed = list(rows)
    names = dict.fromkeys(RECORD_COLUMNS)
    for row in listed:
        names.update(dict.fromkeys(row))
    columns: dict[str, list[Any]] = {}
    for name in names:
        cells = [row.get(name) for row in listed]
        if name in ANSWERS or name.startswith(ANNOTATOR):
            cells = [question.exported(cell, known=known) for cell in cells]
        elif name == "audit":
            cells = ["audit" if cell is True else cell or "" for cell in cells]
        elif name not in TYPES:
            cells = _of_one_type(cells)
        columns[name] = cells
    return columns


def _of_one_type(cells: Sequence[Any]) -> list[Any]:
    """Cells that a column can hold: as they are if all are of one simple type, else as texts."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        return list(cells)
    if kinds <= {int, float}:
        return [None if cell is None else float(cell) for cell in cells]
    return [
        cell if cell is None or isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
        for cell in cells
    ]
