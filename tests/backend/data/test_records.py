"""Records from files: what is read, what is left out, and what the complaint says."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.data.reading import ReadingOptions
from nextlabel.backend.data.records import Columns, ReadReport, read_answers, read_records
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Record

TEXT = Columns({"text": "text"})
WITH_ID = Columns({"text": "text"}, id="id")


def read(path: Path, columns: Columns = TEXT, **options: Any) -> tuple[list[Record], ReadReport]:
    report = ReadReport()
    return list(read_records(str(path), columns, report=report, **options)), report


def complaint(path: Path, columns: Columns = TEXT) -> str:
    with pytest.raises(DataError) as raised:
        read(path, columns)
    assert str(path) in str(raised.value)
    return str(raised.value).replace(str(path), "FILE")


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# -- CSV -----------------------------------------------------------------------------------------------


def test_a_plain_csv(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", 'id,text,stars\n7,"Good, really",5\n8,"two\nlines",1\n')
    records, report = read(path, Columns({"text": "text"}, id="id", metadata=["stars"]))
    assert records == [
        Record("7", {"text": "Good, really"}, {"stars": "5"}),
        Record("8", {"text": "two\nlines"}, {"stars": "1"}),
    ]
    assert report.lines() == ["2 records read"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".CSV"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str, suffix: str) -> None:
    path = file(tmp_path, "a" + suffix, delimiter.join(["id", "text", "n"]) + "\n" + delimiter.join(["1", "x", "2"]))
    assert [record.fields["text"] for record in read(path)[0]] == ["x"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = file(tmp_path, "a.csv", "text\ncafé £5\n".encode(encoding))
    records, report = read(path)
    assert records[0].fields == {"text": "café £5"}
    assert any("Latin-1" in line for line in report.lines()) == (encoding == "latin-1")


def test_windows_line_ends_and_no_last_one(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "text,n\r\na,1\r\n\r\nb,2")
    assert [record.fields["text"] for record in read(path)[0]] == ["a", "b"]


def test_emoji_right_to_left_and_100000_characters(tmp_path: Path) -> None:
    texts = ["👋🏽 hi", "مرحبا بالعالم", "x" * 100_000, "y" * 300_000]
    path = file(tmp_path, "a.csv", "text\n" + "\n".join(texts))
    assert [record.fields["text"] for record in read(path)[0]] == texts


def test_a_missing_column_names_what_is_there(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "id,Text,stars\n1,x,2\n")
    said = complaint(path)
    assert said == "FILE:1: there is no column 'text', did you mean 'Text'? columns found: 'id', 'Text', 'stars'"
    assert "did you mean" not in complaint(path, Columns({"text": "zzz"}))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "FILE:1: the first line must name the columns"),
        ("text,n\na,1,2\n", "FILE:2: 3 cells, but the header names 2"),
        ('text,n\na,1\n"b,1\nc,2\n', "FILE:4: not CSV"),
        ('text,n\n"a"x,1\n', "FILE:2: not CSV"),
        ("text,text\na,b\n", "the column 'text' is there twice"),
    ],
)
def test_a_broken_csv_names_the_line(tmp_path: Path, content: str, says: str) -> None:
    assert says in complaint(file(tmp_path, "a.csv", content))


def test_the_line_of_a_record_that_spans_lines_is_where_it_starts(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", 'text,n\n"a\nb\nc",1\n"d\ne",2,3\n')
    assert "FILE:5: 3 cells" in complaint(path)


def test_no_such_file(tmp_path: Path) -> None:
    assert "there is no such file" in complaint(tmp_path / "none.csv")


# -- rows to records -----------------------------------------------------------------------------------


def test_rows_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "text,n\na,1\n,2\n  ,3\nb,4\n")
    records, report = read(path)
    assert len(records) == 2
    assert report.lines() == ["2 records read", "2 lines without text, left out (line 3, 4)"]


def test_one_of_two_fields_is_enough(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "t,b\n,x\ny,\n,\n")
    records, report = read(path, Columns({"title": "t", "body": "b"}))
    assert [dict(record.fields) for record in records] == [{"title": "", "body": "x"}, {"title": "y", "body": ""}]
    assert report.blank == [4]


def test_without_an_id_the_content_is_the_id(tmp_path: Path) -> None:
    one, _ = read(file(tmp_path, "a.csv", "text,n\na,1\nb,2\na,3\na,4\n"))
    other, _ = read(file(tmp_path, "b.csv", "text,n\nb,9\na,1\n"))
    assert len({record.uid for record in one}) == 4
    assert other[0].uid == one[1].uid
    assert other[1].uid == one[0].uid
    assert one[2].uid == one[0].uid + "-2"
    assert one[2].content_hash() == one[0].content_hash()


def test_the_same_id_twice_with_other_content_names_both_lines(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "id,text\n7,a\n8,b\n7,c\n")
    assert "FILE:4: the id '7' is already that of line 2, with another content" in complaint(path, WITH_ID)


def test_the_same_row_twice_is_read_once(tmp_path: Path) -> None:
    records, report = read(file(tmp_path, "a.csv", "id,text\n7,a\n7,a\n"), WITH_ID)
    assert [record.uid for record in records] == ["7"]
    assert report.repeated == [3]


def test_an_empty_id_names_the_line(tmp_path: Path) -> None:
    assert "FILE:3: the id column 'id' is empty" in complaint(file(tmp_path, "a.csv", "id,text\n7,a\n ,b\n"), WITH_ID)


def test_answers_by_id(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "id,text,desk\n1,a,sport\n2,b,\n3,c, tech \n")
    columns = Columns({"text": "text"}, id="id", answer="desk")
    assert read_answers(str(path), columns) == {"1": "sport", "3": "tech"}
    assert read(path, columns)[0][0].metadata == {}, "the truth must not reach the platform"


# -- JSON lines ----------------------------------------------------------------------------------------


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "text": "a", "more": {"deep": [1, float("nan")]}},
        {"id": 2, "text": None},
        {"id": 3, "text": 4.5},
    ]
    path = file(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    records, report = read(path, Columns({"text": "text"}, id="id", metadata=["more"]))
    assert records == [
        Record("1", {"text": "a"}, {"more": {"deep": [1, None]}}),
        Record("3", {"text": "4.5"}, {"more": None}),
    ]
    assert report.blank == [3]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"text": "a"}\n{"text": \n', "FILE:2: not a JSON object"),
        ('{"text": "a"}\n[1]\n', "FILE:2: a JSON object is expected, not a list"),
        ('[{"text": "a"},\n{"text": "b"', "FILE: not a JSON array"),
        ('[{"text": "a"}, 1]', "FILE: a JSON object is expected as row 2, not a int"),
        ('{\n"text": "a"}', "write one a line, or an array of them"),
        ('{"text": ["a"]}', "FILE:1: the column 'text' holds a list"),
        ('{"txt": "a"}', "there is no column 'text', did you mean 'txt'?"),
        ("", "FILE: empty"),
        ('{"text": "a"}\n' + "[" * 100_000, "FILE:2: not a JSON object"),
        (b'{"text": "caf\xe9"}', "save it as UTF-8"),
    ],
)
def test_broken_json_lines_name_the_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in complaint(file(tmp_path, "a.jsonl", content))


def test_characters_that_no_store_takes_are_replaced_and_counted(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", '{"text": "a\\u0000b\\ud800c"}\n{"text": "\\ud83d\\ude00"}')
    records, report = read(path)
    assert [record.fields["text"] for record in records] == ["a�b�c", "😀"]
    assert report.repaired == [1]


# -- Parquet and datasets ------------------------------------------------------------------------------


def test_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "a.parquet"
    pandas.DataFrame({"text": ["a", None, "c"], "n": [1, 2, 3]}).to_parquet(path)
    records, report = read(path, Columns({"text": "text"}, metadata=["n"]))
    assert [(record.fields["text"], record.metadata["n"]) for record in records] == [("a", 1), ("c", 3)]
    assert report.lines()[1] == "1 row without text, left out (row 2)"
    assert "FILE" in complaint(path, Columns({"text": "txet"}))
    assert "not a Parquet file" in complaint(file(tmp_path, "b.parquet", "nonsense"))


def test_a_folder_saved_by_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    path = tmp_path / "saved"
    datasets.DatasetDict({"train": rows, "test": rows.select([1])}).save_to_disk(str(path))
    columns = Columns({"text": "text"}, answer="label")
    assert list(read_answers(str(path), columns).values()) == ["pos", "neg"]
    assert [record.fields["text"] for record in read(path, columns, options=ReadingOptions(split="test"))[0]] == ["b"]
    with pytest.raises(DataError, match="no split 'dev'; set split to one of train, test"):
        read(path, columns, options=ReadingOptions(split="dev"))


def test_a_hub_name_that_can_not_be_had_says_so() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="no-such-user/no-such-data: can't be opened"):
        list(read_records("no-such-user/no-such-data", TEXT))


# -- size ----------------------------------------------------------------------------------------------


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as out:
        out.write("text\n")
        out.writelines(f"{n} {'x' * 2000}\n" for n in range(20_000))
    tracemalloc.start()
    count = sum(1 for _ in read_records(str(path), TEXT))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < path.stat().st_size / 4
