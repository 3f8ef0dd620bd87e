"""Files as people have them: however written, packed and encoded, they are the same table."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import sys
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.data.sources import beside
from nextlabel.backend.data.tables import cell_text, open_table
from nextlabel.connectors.errors import DataError
from tests.backend.data.sheets import sheet, text_cell

ROWS = [{"text": "a", "label": "x"}, {"text": "b, c", "label": "y"}]
CSV = b'text,label\na,x\n"b, c",y\n'


def values(source: str | Path, *wanted: str) -> list[dict[str, Any]]:
    table = open_table(str(source), wanted or ("text", "label"))
    return [{name: row.values.get(name) for name in wanted or ("text", "label")} for row in table.rows]


def read(source: Path, *wanted: str) -> tuple[list[Any], list[str]]:
    """The texts, and what there is to know."""
    table = open_table(str(source), wanted or ("text",))
    return [row.values["text"] for row in table.rows], table.remarks()


def file(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data/reviews.csv", content)
        archive.writestr("__MACOSX/._reviews.csv", b"\0")
    return packed.getvalue()


def zstandard(content: bytes) -> bytes:
    packed: bytes = pytest.importorskip("pyarrow").compress(content, codec="zstd", asbytes=True)
    return packed


@pytest.mark.parametrize(
    ("ending", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zip", zipped), (".zst", zstandard)],
)
def test_packed_files(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    assert values(file(tmp_path, "reviews.csv" + ending, pack(CSV))) == ROWS
    with pytest.raises(DataError, match="can't be "):
        values(file(tmp_path, "broken.csv" + ending, pack(CSV)[:-12]))


def test_an_archive_of_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    with pytest.raises(DataError, match=r"holds 2 files \(a.csv, b.csv\)"):
        values(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["data", "data.dat", "data.tab", "data.csv.bak"])
def test_a_file_that_is_there_is_never_asked_of_the_hub(tmp_path: Path, name: str) -> None:
    assert values(file(tmp_path, name, CSV)) == ROWS
    assert values(file(tmp_path, name, CSV.replace(b",", b"\t").replace(b'"b\t c"', b"b, c"))) == ROWS
    if not name.endswith(".tab"):
        assert values(file(tmp_path, name, json.dumps(ROWS).encode())) == ROWS


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_arrays(tmp_path: Path, name: str, indent: int | None) -> None:
    assert values(file(tmp_path, name, json.dumps(ROWS, indent=indent).encode())) == ROWS


@pytest.mark.parametrize("array", [True, False])
def test_the_keys_of_every_row_are_columns(tmp_path: Path, array: bool) -> None:
    rows = [{"text": "a"}, {"text": "b", "label": "y"}]
    content = json.dumps(rows) if array else "\n".join(map(json.dumps, rows))
    assert values(file(tmp_path, "a.json", content.encode())) == [{"text": "a", "label": None}, rows[1]]


def test_nested_keys(tmp_path: Path) -> None:
    task = {"data": {"text": "a"}, "annotations": [{"result": [{"value": {"choices": ["x"]}}]}]}
    path = file(tmp_path, "tasks.json", json.dumps([task, {"data": None, "annotations": []}]).encode())
    label = "annotations.0.result.0.value.choices"
    assert values(path, "data.text", label) == [{"data.text": "a", label: ["x"]}, {"data.text": None, label: None}]
    with pytest.raises(DataError, match=r"no column 'meta\.text'"):
        values(path, "meta.text")


def test_sheets(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    header = text_cell("A1", "text") + text_cell("B1", "label")
    path = sheet(
        tmp_path / "a.xlsx", header, text_cell("A2", "NA") + '<c r="B2"><v>1</v></c>', text_cell("A3", "late, again")
    )
    table = open_table(str(path), ("text", "label"))
    assert [(row.number, cell_text(table, row, "text"), cell_text(table, row, "label")) for row in table.rows] == [
        (2, "NA", "1"),
        (3, "late, again", ""),
    ]


def test_a_sheet_that_is_none_says_so(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    with pytest.raises(DataError, match=r"a.xlsx: not a sheet that can be read"):
        values(file(tmp_path, "a.xlsx", b"nonsense"))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CSV)))
    assert values("-") == ROWS


def test_the_web(tmp_path: Path) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a.csv.gz?x=1" else 404)
            self.end_headers()
            self.wfile.write(gzip.compress(CSV))

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert values(f"{address}/a.csv.gz?x=1") == ROWS
        with pytest.raises(DataError, match=r"b.csv: can't be downloaded: .*404"):
            values(f"{address}/b.csv")
        server.shutdown()


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file(tmp_path, "a.csv", CSV)
    assert values("~/a.csv") == ROWS


def test_what_a_recipe_means_by_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert beside(tmp_path, "a.csv.gz") == str(tmp_path / "a.csv.gz")
    assert beside(tmp_path, "~/a.csv") == "/home/ann/a.csv"
    for elsewhere in ("user/data", "-", "https://example.org/a.csv"):
        assert beside(tmp_path, elsewhere) == elsewhere


# -- rows that don't fit -----------------------------------------------------------------------------------------------


def test_short_rows_are_filled_and_said(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b"text,label,approve,reject\na,x\nb,y,1,2\nc\n")
    table = open_table(str(path), ("text",))
    assert [list(row.values.values()) for row in table.rows] == [
        ["a", "x", "", ""],
        ["b", "y", "1", "2"],
        ["c", *[""] * 3],
    ]
    assert table.remarks() == ["2 lines with fewer cells than columns; the missing ones are empty (line 2, 4)"]


def test_delimiters_at_the_end_are_no_cells(tmp_path: Path) -> None:
    assert read(file(tmp_path, "a.csv", b"text,label\na,x,\nb,y,,\n")) == (["a", "b"], [])


def test_a_sheets_word_on_its_delimiter(tmp_path: Path) -> None:
    table = open_table(str(file(tmp_path, "a.csv", b"sep=;\ntext;label\na, b;x\n")), ("text", "label"))
    assert [(row.number, row.values["text"]) for row in table.rows] == [(3, "a, b")]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'text\tn\n"a" said he\t1\nb "c\t2\n', ['"a" said he', 'b "c']),
        (b'text\tn\n"a\t1\nb"\t2\n', ['"a', 'b"']),  # quotes would make one row of two
        (b'text\tn\n"a ""b"""\t1\n"c\nd"\t2\n', ['a "b"', "c\nd"]),
    ],
)
def test_quotes_of_tab_separated_files(tmp_path: Path, content: bytes, texts: list[str]) -> None:
    assert read(file(tmp_path, "a.tsv", content))[0] == texts


def test_quotes_after_backslashes(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "a.csv",
        rb"""text,n
"he said \"hi\", twice",1
"C:\\",2
""",
    )
    assert read(path)[0] == ['he said "hi", twice', "C:\\"]
    assert read(file(tmp_path, "b.csv", b'text,n\n"C:\\",1\n"D:\\",2\n'))[0] == ["C:\\", "D:\\"], "no quote at all"


def test_a_header_may_be_of_two_lines(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b'"the\nnote",text\nx,a\n')
    assert [(row.number, row.values["text"]) for row in open_table(str(path), ("text",)).rows] == [(3, "a")]


def test_a_wrong_ending_is_seen_through(tmp_path: Path) -> None:
    assert values(file(tmp_path, "a.csv", gzip.compress(CSV))) == ROWS
    pytest.importorskip("pandas").DataFrame(ROWS).to_parquet(tmp_path / "b.csv")
    assert values(tmp_path / "b.csv") == ROWS


def test_a_header_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nice', 'pos'; if these are no names, write a first line that names the col"):
        values(file(tmp_path, "a.csv", b"nice,pos\nbad,neg\n"))


def test_a_parquet_file_with_broken_pages_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pytest.importorskip("pandas").DataFrame({"text": ["some text"] * 99, "label": list(range(99))}).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 40 + content[44:])
    with pytest.raises(DataError, match=r"a\.parquet: can't be read"):
        values(path)


# -- encodings ---------------------------------------------------------------------------------------------------------


def test_a_bad_byte_costs_one_character_and_its_line_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "text\nnice 🙂 “day”\ncut ".encode() + b"\xe2\x80\n")
    assert read(path) == (
        ["nice 🙂 “day”", "cut �"],
        ["1 character not in UTF-8, replaced by U+FFFD (line 3)"],
    )


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("it’s 5 € “now”…", "cp1252", "Windows-1252 (Latin-1)"),
        ("Der Käfer läuft über die Brücke", "latin-1", "Windows-1252 (Latin-1)"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250", "Windows-1250"),
        ("привет мир", "cp1251", "Windows-1251"),
        ("日本語です", "cp932", "Shift-JIS"),
        ("服务很好，我们会再来的，这家饭店的菜也不错，就是价格有一点贵", "gb18030", "GB18030"),
        ("안녕하세요 아주 좋아요", "cp949", "Korean (cp949)"),
        ("plain", "utf-16-le", "UTF-16-LE"),
        ("plain", "utf-16-be", "UTF-16-BE"),
        ("日本語です", "utf-16", ""),
        ("日本語です", "utf-32", ""),
    ],
)
def test_encodings(tmp_path: Path, text: str, encoding: str, told: str) -> None:
    path = file(tmp_path, "a.csv", f"text,label\r\n{text},bad\r\n".encode(encoding))
    assert read(path) == ([text], [f"not UTF-8: read as {told}"] * bool(told))


def test_names_of_lists_of_class_labels(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["late", "rude"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.Sequence(names)})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "labels": [[1, 0], []]}, features=features)
    rows.save_to_disk(str(tmp_path / "saved"))
    assert [one["labels"] for one in values(tmp_path / "saved", "labels")] == [["rude", "late"], []]


def test_names_of_class_labels_in_parquet(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    assert [row["label"] for row in values(path)] == ["pos", "neg", None]


def test_a_file_that_may_not_be_opened_is_told_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open everything, so the refusal is made up."""
    (tmp_path / "a.csv").write_text("text\nx\n")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DataError, match=r"a\.csv: can't be read: Permission denied"):
        open_table(str(tmp_path / "a.csv"), ["text"])
