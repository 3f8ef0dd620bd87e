"""Files of answers: whole, with every column, also where there is no answer."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.pool.export import RECORD_COLUMNS
from nextlabel.backend.pool.export_files import write_rows
from nextlabel.connectors.errors import ConfigError

ROWS: list[dict[str, Any]] = [{"uid": "1", "answer": ["a", "b"]}, {"uid": "2", "answer": "c", "metadata.shop": "north"}]


def test_a_csv_has_every_column_that_any_row_has(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    assert write_rows(lambda: ROWS, path, ("uid", "answer")) == 2
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"uid": "1", "answer": "a|b", "metadata.shop": ""},
            {"uid": "2", "answer": "c", "metadata.shop": "north"},
        ]


def test_no_answer_is_a_header(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    assert write_rows(list, path, RECORD_COLUMNS) == 0
    assert path.read_text().strip() == ",".join(RECORD_COLUMNS)


def test_json_lines_are_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    assert write_rows(lambda: ROWS, path, RECORD_COLUMNS) == 2
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.jsonl"):
        write_rows(lambda: ROWS, tmp_path / "answers.xml", RECORD_COLUMNS)
