"""The MAMI format, as the organisers give it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.mami import KINDS, Mami, read_mami

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


def test_rows_become_records_with_text_and_image(folder: Path) -> None:
    mami = read_mami(folder)
    assert mami == read_mami(folder / "training.csv")
    one, two, three = mami.records()
    assert (one.uid, one.fields) == ("mami-1", {"text": "Milk Milk.zip", "image": str(folder / "1.jpg")})
    assert two.fields["text"] == 'a quote "inside", \tand a tab\nand a second line'
    assert three.fields["text"] == ""
    assert mami.missing == ()


def test_an_address_stands_before_the_file_names(folder: Path) -> None:
    (folder / "training.csv").write_text(HEADER + "a b#1.jpg\t0\t0\t0\t0\t0\tx\n")
    (record,) = read_mami(folder).records("/data/local-files/?d=mami/")
    assert record.fields["image"] == "/data/local-files/?d=mami/a%20b%231.jpg"


def test_answers_to_both_tasks(folder: Path) -> None:
    mami = read_mami(folder)
    assert mami.answers() == {
        "mami-1": ("not misogynous",),
        "mami-10": ("misogynous",),
        "mami-15": ("misogynous",),
    }
    assert mami.answers("kinds") == {"mami-1": (), "mami-10": ("stereotype", "violence"), "mami-15": ("shaming",)}
    assert set().union(*mami.answers("kinds").values()) <= set(KINDS)


def test_images_that_are_missing_are_told_and_their_records_stay(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "10.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        mami = read_mami(folder)
    assert mami.missing == ("10.jpg",)
    assert len(list(mami.records())) == 3
    assert "1 of 3 images" in caplog.text


def test_the_test_data_get_their_labels_from_the_file_beside_them(tmp_path: Path) -> None:
    write(tmp_path, "file_name\tText Transcription\n7.jpg\tseven\n8.jpg\teight\n", "Test.csv")
    assert read_mami(tmp_path).answers() == {}, "without labels there are no answers"
    assert [record.uid for record in read_mami(tmp_path).records()] == ["mami-7", "mami-8"]
    write(tmp_path, "7.jpg\t1\t0\t0\t0\t1\n8.jpg\t0\t0\t0\t0\t0\n", "test_labels.txt")
    assert read_mami(tmp_path).answers("kinds") == {"mami-7": ("violence",), "mami-8": ()}


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
    assert read_mami(write(tmp_path, HEADER)) == Mami((), ())
