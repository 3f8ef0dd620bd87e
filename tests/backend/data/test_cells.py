"""What a cell says: one rule, whoever reads the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.annotators.opinions import read_rows
from nextlabel.backend.data.labelled import LabelledColumns, read_labelled
from nextlabel.backend.data.records import Columns, read_answers
from nextlabel.backend.data.tables import open_table
from nextlabel.connectors.errors import DataError


def written(folder: Path, *values: Any) -> str:
    rows = [{"id": f"r{at}", "text": f"text {at}", "who": "ann", "label": value} for at, value in enumerate(values)]
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    ("value", "said"), [(1.0, "1"), (1, "1"), (0.5, "0.5"), (True, "true"), (" a ", "a"), (["a"], "a"), ("1.5", "1.5")]
)
def test_an_answer_is_the_same_to_recipe_evaluation_and_annotators(tmp_path: Path, value: Any, said: str) -> None:
    source = written(tmp_path, value, "b")
    assert list(read_answers(source, Columns({"text": "text"}, answer="label")).values()) == [said, "b"]
    assert read_labelled(source, LabelledColumns("text", "label")).labels == [(said,), ("b",)]
    votes = read_rows(open_table(source, ["id", "who", "label"]), "id", "who", "label")
    assert set(votes.opinions.labels) == {said, "b"}


@pytest.mark.parametrize("value", [None, float("nan"), "", "  "])
def test_what_is_missing_is_no_answer(tmp_path: Path, value: Any) -> None:
    source = written(tmp_path, value, "b")
    assert list(read_answers(source, Columns({"text": "text"}, answer="label")).values()) == ["b"]


def test_two_labels_in_one_answer_are_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.jsonl:1: the column 'label' holds 2 values; one is expected"):
        read_answers(written(tmp_path, ["a", "b"]), Columns({"text": "text"}, answer="label"))
