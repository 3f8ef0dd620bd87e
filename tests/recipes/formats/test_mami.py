"""The MAMI format, as the organisers give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.mami import COLUMNS, KINDS, open_mami, read_mami
from tests.recipes import made_up

HEADER = "file_name\tmisogynous\tshaming\tstereotype\tobjectification\tviolence\tText Transcription\n"
ROWS = (
    "1.jpg\t0\t0\t0\t0\t0\tMilk Milk.zip\n"
    '10.jpg\t1\t0\t1\t0\t1\t"a quote ""inside"", \tand a tab\nand a second line"\n'
    "15.jpg\t1\t1\t0\t0\t0\t\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "training.csv").write_text(HEADER + ROWS, encoding="utf-8")
    for name in ("1.jpg", "10.jpg", "15.jpg"):
        (tmp_path / name).write_bytes(b"an image")
    return tmp_path


def write(folder: Path, text: str, name: str = "training.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_rows_are_memes_with_text_image_and_labels(folder: Path) -> None:
    memes = read_mami(folder)
    assert memes == read_mami(folder / "training.csv")
    one, two, three = memes
    assert (one.text, one.image) == ("Milk Milk.zip", folder / "1.jpg")
    assert two.text == 'a quote "inside", \tand a tab\nand a second line'
    assert three.text == ""
    assert [meme.misogynous for meme in memes] == [False, True, True]
    assert [meme.kinds for meme in memes] == [(), ("stereotype", "violence"), ("shaming",)]
    assert {kind for meme in memes for kind in meme.kinds or ()} <= set(KINDS)


def test_the_table_names_the_files(tmp_path: Path) -> None:
    folder = made_up.mami(tmp_path, 2)
    table = open_mami(str(folder))
    assert table.columns == COLUMNS
    assert [tuple(row.values.values()) for row in table.rows] == [
        ("mami-0", made_up.text(0), str(folder / "0.jpg"), "not misogynous"),
        ("mami-1", made_up.text(1), str(folder / "1.jpg"), "misogynous"),
    ]


def test_without_data_it_says_where_to_ask() -> None:
    with pytest.raises(DataError, match=r"forms\.gle/\w+.*training\.csv.*--data"):
        open_mami()


def test_the_test_data_get_their_labels_from_the_file_beside_them(tmp_path: Path) -> None:
    write(tmp_path, "file_name\tText Transcription\n7.jpg\tseven\n8.jpg\teight\n", "Test.csv")
    assert [(meme.misogynous, meme.kinds) for meme in read_mami(tmp_path)] == [(None, None)] * 2
    assert [row.values["label"] for row in open_mami(str(tmp_path)).rows] == [None, None]
    write(tmp_path, "7.jpg\t1\t0\t0\t0\t1\n8.jpg\t0\t0\t0\t0\t0\n", "test_labels.txt")
    assert [meme.kinds for meme in read_mami(tmp_path)] == [("violence",), ()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER.replace("\t", ","), "tab-separated"),
        (HEADER.replace("\tviolence", ""), "'violence'"),
        (HEADER + "1.jpg\t2\t0\t0\t0\t0\tx\n", "line 2: misogynous is '2'"),
        (HEADER + "1.jpg\t1\t0\t0\n", "line 2"),
        (HEADER + "../secret.jpg\t0\t0\t0\t0\t0\tx\n", "no file name"),
        (HEADER + "\t0\t0\t0\t0\t0\tx\n", "no file name"),
        (HEADER + "1.jpg\t0\t0\t0\t0\t0\tx\n" * 2, "line 3: 1.jpg was there before"),
        ("", "no column"),
    ],
)
def test_a_table_that_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_mami(write(tmp_path, text))


def test_other_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no training\.csv"):
        read_mami(tmp_path)
    (tmp_path / "training.csv").write_bytes(HEADER.encode() + b"1.jpg\t0\t0\t0\t0\t0\tcaf\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_mami(tmp_path)
    write(tmp_path, "file_name\tText Transcription\n7.jpg\tseven\n")
    write(tmp_path, "7.jpg\t1\n", "test_labels.txt")
    with pytest.raises(DataError, match=r"test_labels\.txt: line 1"):
        read_mami(tmp_path)


def test_an_empty_table_has_no_memes(tmp_path: Path) -> None:
    assert read_mami(write(tmp_path, HEADER)) == ()
