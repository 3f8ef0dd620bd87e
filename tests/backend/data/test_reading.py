"""What is said about a data file, and what is refused of it; and columns of 0 and 1, one per label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.data.labelled import LabelledColumns, LabelledRows, read_labelled
from nextlabel.backend.data.reading import ReadingOptions, known_encoding, one_delimiter
from nextlabel.backend.data.tables import open_table
from nextlabel.connectors.errors import DataError
from tests.backend.data.sheets import sheet, text_cell

NO_HEADER = ReadingOptions(header=False)


def file(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def rows(source: str, options: ReadingOptions, *wanted: str) -> list[tuple[Any, ...]]:
    """The numbers and the cells of the rows."""
    return [(row.number, *row.values.values()) for row in open_table(source, wanted, options).rows]


# -- delimiters and encodings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "mark"), [(";", ";"), ("\t", "\t"), ("\\t", "\t"), ("Tab", "\t"), ("^", "^")])
def test_a_delimiter_is_one_character(tmp_path: Path, given: str, mark: str) -> None:
    path = file(tmp_path, "a.csv", f"text{mark}label\na, b | c{mark}x\n".encode())
    assert rows(path, ReadingOptions(delimiter=one_delimiter(given)), "text") == [(2, "a, b | c", "x")]


@pytest.mark.parametrize("given", ["", "::", '"', "\n", "tabs"])
def test_what_can_part_no_cells_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="can't part cells; give one character"):
        one_delimiter(given)


@pytest.mark.parametrize("given", ["utf9", "base64", "", "a\0b", "undefined"])
def test_an_unknown_encoding_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is no encoding; Python's names are meant, as utf-8"):
        known_encoding(given)


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [("œuvre", "mac_roman", "mac_roman"), ("日本", "utf-8-sig", "UTF8"), ("日本", "utf-16", "utf-16-le")],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_encoding_that_is_said_is_believed(tmp_path: Path, text: str, encoding: str, said: str, name: str) -> None:
    content = f"text\n{text}\n" if name == "a.csv" else json.dumps({"text": text}, ensure_ascii=False)
    table = open_table(file(tmp_path, name, content.encode(encoding)), ("text",), ReadingOptions(encoding=said))
    assert ([row.values["text"] for row in table.rows], table.remarks()) == ([text], [])


def test_bytes_that_are_not_in_the_encoding_that_was_said_are_named(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b"text\nfine\ncaf\xe9 \xe9\n")
    table = open_table(path, ("text",), ReadingOptions(encoding="utf-8"))
    assert [row.values["text"] for row in table.rows] == ["fine", "caf� �"]
    assert table.remarks() == ["2 characters not in UTF-8, replaced by U+FFFD (line 3)"]


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("a.json", b"[]", {"delimiter": ";", "header": False}, "JSON has no delimiter and no header to be said"),
        ("a.parquet", b"PAR1", {"encoding": "utf-8"}, "a Parquet file has no encoding"),
        ("a.xlsx", b"PK\x03\x04", {"delimiter": ";"}, "a sheet has no delimiter"),
    ],
)
def test_what_means_nothing_for_a_file_is_refused(
    tmp_path: Path, name: str, content: bytes, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        open_table(file(tmp_path, name, content), (), ReadingOptions(**options))


def test_what_means_nothing_for_the_hub_is_refused() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="a folder or a data set of the hub has no delimiter"):
        open_table("no-such-user/no-such-data", (), ReadingOptions(delimiter=";"))


def test_json_that_is_not_utf8_asks_for_its_encoding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="save it as UTF-8, or say its encoding"):
        open_table(file(tmp_path, "a.json", '[{"text": "Käfer"}]'.encode("cp1252")), ("text",))


# -- no header ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"pos,nice\nneg,bad\n", [(1, "pos", "nice"), (2, "neg", "bad")]),
        (
            b"pos\tnice, and big, and new\nneg\tbad, ugly\n",
            [(1, "pos", "nice, and big, and new"), (2, "neg", "bad, ugly")],
        ),
        (b"pos;a, b, e\nneg;c, d, f\n", [(1, "pos", "a, b, e"), (2, "neg", "c, d, f")]),
        (b'sep=|\npos|"a\nb"\n', [(2, "pos", "a\nb")]),
        (b'"pos"\t"quoted" word\nneg\tb\n', [(1, '"pos"', '"quoted" word'), (2, "neg", "b")]),
        (b"pos,a\nneg\n", [(1, "pos", "a"), (2, "neg", "")]),
        (
            b"pos\ta, b, c\nneg\td, e\nx\nneg\tf, g, h\n",
            [(1, "pos", "a, b, c"), (2, "neg", "d, e"), (3, "x", ""), (4, "neg", "f, g, h")],
        ),
    ],
)
def test_without_a_header_the_first_row_is_data(tmp_path: Path, content: bytes, found: list[Any]) -> None:
    table = open_table(file(tmp_path, "a.txt", content), ("column 1", "column 2"), NO_HEADER)
    assert table.columns == ("column 1", "column 2")
    assert [(row.number, *row.values.values()) for row in table.rows] == found


def test_texts_alone_are_one_column(tmp_path: Path) -> None:
    path = file(tmp_path, "a.txt", b"one line\nanother, with a comma\n")
    assert rows(path, NO_HEADER, "column 1") == [(1, "one line"), (2, "another, with a comma")]


def test_a_bracket_does_not_make_json_of_it(tmp_path: Path) -> None:
    assert rows(file(tmp_path, "data", b"[sic],x\nb,y\n"), NO_HEADER) == [(1, "[sic]", "x"), (2, "b", "y")]


def test_a_sheet_without_a_header(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    path = sheet(tmp_path / "a.xlsx", text_cell("A1", "pos") + text_cell("B1", "nice"), text_cell("A2", "neg"))
    assert [row[:2] for row in rows(str(path), NO_HEADER, "column 2")] == [(1, "pos"), (2, "neg")]
    with pytest.raises(DataError, match="say --no-header"):
        open_table(str(path), ("text",))


def test_a_file_that_seems_to_have_none_names_the_option(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b"nice,pos\nbad,neg\n")
    with pytest.raises(DataError, match=r"say --no-header \(in a recipe, header: false\): then they are 'column 1'"):
        open_table(path, ("text", "label"))
    with pytest.raises(DataError, match=r"no column 'text'; columns found: 'column 1', 'column 2'$"):
        open_table(path, ("text",), NO_HEADER)
    with pytest.raises(DataError, match=r"no column 'text'; columns found: 'a'$"):
        open_table(file(tmp_path, "a.jsonl", b'{"a": 1}'), ("text",))


def test_without_a_header_faults_are_told_of_the_first_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2: 3 cells, but the first row has 2; put cells"):
        rows(file(tmp_path, "a.csv", b"a,b\nc,d,e\n"), NO_HEADER, "column 2")
    with pytest.raises(DataError, match=r":1: the first line tells how many columns there are, and it is empty"):
        rows(file(tmp_path, "b.csv", b"\n"), NO_HEADER)


# -- columns of 0 and 1 ------------------------------------------------------------------------------------------------

FLAGS = LabelledColumns("text", "late, NA, 0", flags=("late", "NA", "0"))


def flagged(folder: Path, *cells: str) -> LabelledRows:
    lines = [f"t{at},{line}" for at, line in enumerate(cells)]
    return read_labelled(file(folder, "a.csv", "\n".join(["text,late,NA,0", *lines]).encode()), FLAGS)


def test_columns_of_flags_are_labels_called_as_they_are(tmp_path: Path) -> None:
    found = flagged(tmp_path, "1,0,0", "0,1.0,True", "FALSE,0,0", ",,", "1,,1")
    assert found.several
    assert (found.texts, found.unlabelled) == (["t0", "t1", "t2", "t4"], 1)
    assert found.labels == [("late",), ("NA", "0"), (), ("late", "0")]
    assert found.remarks == ["1 line with some of the label columns empty; that was read as 0 (line 6)"]


def test_a_label_that_no_row_has_is_told(tmp_path: Path) -> None:
    found = flagged(tmp_path, "1,0,0", "0,0,0")
    assert found.remarks == ["no row has a 1 in 'NA', '0': no label of any"]


@pytest.mark.parametrize("cell", ["0.3", "-1", "yes", "2"])
def test_what_is_no_flag_is_refused_with_its_line(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=rf"a.csv:3: the column 'late' holds '{cell}'; a column of 0 and 1 is expected"):
        flagged(tmp_path, "1,0,0", f"{cell},0,0")


def test_a_label_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'NA'"):
        read_labelled(file(tmp_path, "a.csv", b"text,late,0\na,1,0\n"), FLAGS)


def test_vectors_are_refused_with_the_option(tmp_path: Path) -> None:
    lines = b'{"text": "a", "label": [0, 1]}\n{"text": "b", "label": [1, 0]}\n'
    with pytest.raises(DataError, match="a column of 0 and 1 for each label: --label-columns late,rude"):
        read_labelled(file(tmp_path, "a.jsonl", lines), LabelledColumns("text", "label"))
