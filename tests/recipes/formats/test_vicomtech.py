"""Vicomtech's sentences: the repository's layout, an archive of it, and one table."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.vicomtech import JOINED, open_vicomtech
from tests.recipes import made_up

HEADER = "file_id,user_id,subforum_id,num_contexts,label,text,split\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_up.vicomtech(tmp_path / "hate-speech-dataset", 4)


def test_the_layout_of_the_repository(folder: Path) -> None:
    table = open_vicomtech(str(folder))
    rows = list(table.rows)
    assert table.columns == JOINED
    assert table.remark == "left out: 1 relation, 1 idk/skip"
    assert [row.values["label"] for row in rows] == ["noHate", "hate", "noHate", "hate"]
    assert [row.values["split"] for row in rows] == ["sampled_train", "sampled_test", "", ""]
    assert rows[1].values["text"] == made_up.text(1), "without the line break at its end"
    assert rows[1].values["user_id"] == "501"
    assert rows[1].number == 3


def test_an_archive_with_a_folder_around_everything(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "download.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, Path("hate-speech-dataset-b802137") / file.relative_to(folder))
    packed, unpacked = open_vicomtech(str(path)), open_vicomtech(str(folder))
    assert list(packed.rows) == list(unpacked.rows)
    assert packed.name == f"{path}/annotations_metadata.csv"


def test_one_joined_table(tmp_path: Path) -> None:
    path = tmp_path / "joined.csv"
    path.write_text(
        HEADER + '1_1,5,2,0,hate,"a, ñ 😀",sampled_test\n1_2,5,2,0,noHate,b,\n1_3,5,2,0,relation,c,\n', encoding="utf-8"
    )
    table = open_vicomtech(str(path))
    one, two = table.rows
    assert (one.values["text"], one.values["split"], two.values["label"]) == ("a, ñ 😀", "sampled_test", "noHate")
    assert table.remark == "left out: 1 relation"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "1_1,5,2,0,hatred,x,\n", r"joined\.csv:2: the label is 'hatred'; it must be one of hate, noHate"),
        (HEADER.replace("user_id", "user"), r"no column 'user_id', did you mean 'user'\?"),
        (HEADER + "1_1,5,2\n", r"joined\.csv:2: the label is ''"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "joined.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        list(open_vicomtech(str(tmp_path / "joined.csv")).rows)


def test_missing_parts_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "all_files" / "7_2.txt").unlink()
    with pytest.raises(DataError, match=r"annotations_metadata\.csv:4: there is no all_files/7_2\.txt"):
        open_vicomtech(str(folder))
    (folder / "all_files" / "7_2.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"7_2\.txt: is not UTF-8"):
        open_vicomtech(str(folder))
    (folder / "annotations_metadata.csv").unlink()
    with pytest.raises(DataError, match=r"no annotations_metadata\.csv in it"):
        open_vicomtech(str(folder))
    with pytest.raises(DataError, match="there is no such file"):
        open_vicomtech(str(tmp_path / "none.zip"))


def test_a_name_that_leads_elsewhere_is_refused(folder: Path) -> None:
    file = folder / "annotations_metadata.csv"
    file.write_text(file.read_text().replace("7_1,", "../../secret,"))
    with pytest.raises(DataError, match="can't name a file"):
        open_vicomtech(str(folder))


def test_an_archive_that_is_cut_off_or_too_large(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "download.zip"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="download it again"):
        open_vicomtech(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations_metadata.csv", "x" * 100)
    monkeypatch.setattr("nextlabel.recipes.formats.vicomtech.MAX_BYTES", 99)
    with pytest.raises(DataError, match="more than 99 bytes"):
        open_vicomtech(str(path))
