"""The AMI tables of 2018."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.misogyny_es import CATEGORIES, FILE, LABELS, open_ami
from tests.recipes import made_up

HEADER = "id\ttext\tmisogynous\tmisogyny_category\ttarget\n"


def write(folder: Path, text: str) -> str:
    (folder / FILE).write_text(text, encoding="utf-8")
    return str(folder / FILE)


def test_the_folder_and_the_table_in_it(tmp_path: Path) -> None:
    path = made_up.ami(tmp_path, 2)
    rows = list(open_ami(str(path)).rows)
    assert rows == list(open_ami(str(tmp_path)).rows)
    assert rows[0].values == {"id": "1", "text": made_up.text(1), "label": "dominance", "target": "active"}
    assert rows[1].values["label"] == "non-misogynous"


def test_every_category_has_its_label(tmp_path: Path) -> None:
    lines = [f"{n}\tx{n}\t1\t{category}\tpassive\n" for n, category in enumerate(CATEGORIES)]
    table = open_ami(write(tmp_path, HEADER + "".join(lines) + "9\tx9\t0\t0\t0\n"))
    assert {row.values["label"] for row in table.rows} == set(LABELS)
    assert len(LABELS) == 6


def test_the_other_name_of_the_text_and_data_without_labels(tmp_path: Path) -> None:
    (row,) = open_ami(write(tmp_path, "id;tweet\n4;ñandú\n")).rows
    assert row.values == {"id": "4", "text": "ñandú", "label": None, "target": None}


def test_a_lone_quote_between_tabs_is_a_quote(tmp_path: Path) -> None:
    text = HEADER + '1\t"never" closed\t0\t0\t0\n2\t"open\t1\tdiscredit\tactive\n3\tx\t0\t0\t0\n'
    rows = list(open_ami(write(tmp_path, text)).rows)
    assert [row.values["text"] for row in rows] == ['"never" closed', '"open', "x"]
    assert [row.number for row in rows] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "1\tx\t2\t0\t0\n", ":2: misogynous is '2'"),
        (HEADER + "1\tx\t1\tenvy\tactive\n", ":2: misogyny_category is 'envy'; it must be one of stereotype"),
        (HEADER.replace("misogyny_category", "category"), "no column 'misogyny_category'"),
        (HEADER.replace("text", "message"), "no column 'text'"),
        (HEADER + "1\tx\n", ":2: misogynous is ''"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        list(open_ami(write(tmp_path, text)).rows)


def test_without_data_it_says_where_to_ask() -> None:
    with pytest.raises(DataError, match=r"amiibereval2018\.wordpress\.com.*es_AMI_TrainingSet_NEW\.csv.*--data"):
        open_ami()
