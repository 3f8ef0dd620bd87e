"""The politeness requests: a folder, one table, and both when they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.politeness import open_politeness, opinions_of, read_politeness
from tests.recipes import made_up


def test_the_folder_holds_what_was_said_first_and_later(tmp_path: Path) -> None:
    requests = read_politeness(made_up.politeness(tmp_path, 10))
    assert [one.id for one in requests] == [f"p{n}" for n in range(10)]
    assert [one.label for one in requests[:4]] == ["impolite", "polite", "impolite", "polite"]
    opinions = opinions_of(requests)
    assert opinions.per_record.tolist() == [3] * 10
    assert opinions.labels == ("impolite", "polite")
    table = open_politeness(str(tmp_path))
    assert "30 answers of 3 annotators" in table.remark
    assert [row.values["label"] for row in table.rows] == [one.label for one in requests]


def test_one_table_and_its_ties(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('id,text,a1,a22,about\nx,"hello, you",1.0,0.0,9\ny,thanks,1,,9\nz,hm,,,9\n')
    table = open_politeness(str(path))
    assert [dict(row.values) for row in table.rows] == [
        {"id": "x", "text": "hello, you", "label": None},
        {"id": "y", "text": "thanks", "label": "polite"},
        {"id": "z", "text": "hm", "label": None},
    ]


def test_what_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,text,a1\nx,hello,1\ny,thanks,2\n")
    with pytest.raises(DataError, match=r"mine\.csv:3: a1 said '2'; it must be 0"):
        read_politeness(path)
    folder = made_up.politeness(tmp_path / "folder", 4)
    (folder / "extra_annotations.jsonl").write_text('{"id": "p9", "annotations": {"a1": 1}}\n')
    with pytest.raises(DataError, match=r"extra_annotations\.jsonl:1: 'p9' is no request"):
        read_politeness(folder)
    with pytest.raises(DataError, match="stanford-politeness"):
        open_politeness()
