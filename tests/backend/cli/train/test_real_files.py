"""Files of the kinds that public repositories hold, through ``nextlabel evaluate``: the right figure, or what to do."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.data.sheets import sheet, text_cell

pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]
Write = Callable[[Path], str]
WORDS = {"pos": "lovely splendid superb", "neg": "awful dreadful nasty"}
ROWS = [(f"a {WORDS[label]} meal, no. {at}", label) for at in range(30) for label in ("pos", "neg")]
FRAME = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}


def lines(form: str, encoding: str = "utf-8", header: str = "text,label", name: str = "data.csv") -> Write:
    """A file with a line per row, ``form`` filled with its text and label."""

    def write(folder: Path) -> str:
        body = [form.format(text=text, label=label, flag=int(label == "pos")) for text, label in ROWS]
        (folder / name).write_bytes(("\n".join([header] * bool(header) + body) + "\n").encode(encoding))
        return name

    return write


def dumped(value: Any, name: str = "data.json") -> Write:
    """A file that is one JSON value."""

    def write(folder: Path) -> str:
        (folder / name).write_text(json.dumps(value))
        return name

    return write


def json_lines(row: Callable[[str, str], Any]) -> Write:
    """A file with an object per line."""

    def write(folder: Path) -> str:
        (folder / "data.jsonl").write_text("".join(json.dumps(row(*one)) + "\n" for one in ROWS))
        return "data.jsonl"

    return write


def framed(way: str, name: str, **columns: Any) -> Write:
    """What pandas writes of the rows, with more columns."""

    def write(folder: Path) -> str:
        import pandas as pd

        frame = pd.DataFrame({**FRAME, **columns})
        if way == "categories":
            frame["label"] = frame["label"].astype("category")
        getattr(frame, f"to_{'parquet' if way == 'categories' else way}")(folder / name, index=way == "csv")
        return name

    return write


def class_labels(folder: Path) -> str:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    made = Dataset.from_dict({**FRAME, "label": [int(label == "pos") for label in FRAME["label"]]}, features=features)
    made.to_parquet(str(folder / "data.parquet"))
    return "data.parquet"


def packed(folder: Path) -> str:
    with gzip.open(folder / "data.csv.gz", "wt") as file:
        file.write("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS))
    return "data.csv.gz"


def zipped(folder: Path) -> str:
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        archive.writestr("inner/train.csv", "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS))
        archive.writestr("__MACOSX/._train.csv", "x")
    return "data.zip"


def workbook(folder: Path) -> str:
    """With a column of numbers between, and an empty row at the end."""
    cells = [
        text_cell(f"A{at}", text) + f'<c r="B{at}"><v>{at}.5</v></c>' + text_cell(f"C{at}", f"{label} ")
        for at, (text, label) in enumerate(ROWS, start=2)
    ]
    header = "".join(
        text_cell(f"{column}1", name) for column, name in zip("ABC", ("text", "seconds", "label"), strict=True)
    )
    return sheet(folder / "data.xlsx", header, *cells, text_cell("A62", "")).name


def exported(text: str, label: str) -> dict[str, Any]:
    """A task as Label Studio exports it."""
    result = [{"from_name": "sentiment", "type": "choices", "value": {"choices": [label]}}]
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": result, "was_cancelled": False}]}


QUOTED = '"{text}",{label}'
SIDES = "['{label}']"
READ: dict[str, tuple[Write, tuple[str, ...], list[str]]] = {
    "comma": (lines(QUOTED), (), ["neg", "pos"]),
    "an index that pandas wrote": (framed("csv", "data.csv"), (), ["neg", "pos"]),
    "semicolons and decimal commas": (lines("{text};{label};0,75", header="text;label;score"), (), ["neg", "pos"]),
    "a first line that says sep": (lines("{text};{label}", header="sep=;\ntext;label"), (), ["neg", "pos"]),
    "tabs, lone quotes": (lines('5" {text}\t{label}', header="text\tlabel", name="data.tsv"), (), ["neg", "pos"]),
    "tabs, quoted line breaks": (
        lines('"{text}\nand more"\t{label}', header="text\tlabel", name="data.tsv"), (), ["neg", "pos"]
    ),
    "pipes": (lines("{text}|{label}", header="text|label"), (), ["neg", "pos"]),
    "MySQL's quotes": (lines('"{text} \\"so\\"",{label}'), (), ["neg", "pos"]),
    "UTF-16, as Excel writes text": (
        lines("{text}\t{label}", "utf-16", "text\tlabel", "data.txt"), (), ["neg", "pos"]
    ),
    "UTF-8 with a mark": (lines(QUOTED, "utf-8-sig"), (), ["neg", "pos"]),
    "Latin letters of Windows": (lines('"{text} café, très bon",{label}', "cp1252"), (), ["neg", "pos"]),
    "short rows": (lines(QUOTED, header="text,label,comment"), (), ["neg", "pos"]),
    "labels in capitals of a header with spaces": (
        lines('"{text}", {label}', header="text, label"), (), ["neg", "pos"]
    ),
    "flags 1.0 and 0.0": (lines('"{text}",{flag}.0'), (), ["0", "1"]),
    "one-hot columns, one of them": (
        lines('"{text}",{flag},{label}', header="text,pos,rest"), ("--label", "pos"), ["0", "1"]
    ),
    "lists as text": (lines(f'"{{text}}","{SIDES}"'), (), ["neg", "pos"]),
    "JSON lines": (json_lines(lambda text, label: {"text": text, "label": label}), (), ["neg", "pos"]),
    "doccano": (
        json_lines(lambda text, label: {"id": 1, "text": text, "label": [label], "Comments": []}), (), ["neg", "pos"]
    ),
    "nested": (
        json_lines(lambda text, label: {"meta": {"text": text}, "gold": {"label": label}}),
        ("--text", "meta.text", "--label", "gold.label"),
        ["neg", "pos"],
    ),
    "pandas' records": (dumped([{"text": text, "label": label} for text, label in ROWS]), (), ["neg", "pos"]),
    "Label Studio": (
        dumped([exported(*row) for row in ROWS]),
        ("--text", "data.text", "--label", "annotations.0.result.0.value.choices"),
        ["neg", "pos"],
    ),
    "Label Studio, JSON-MIN": (
        dumped([{"text": text, "sentiment": label, "lead_time": 1.5} for text, label in ROWS]),
        ("--label", "sentiment"),
        ["neg", "pos"],
    ),
    "an annotator's sheet": (workbook, (), ["neg", "pos"]),
    "Parquet": (framed("parquet", "data.parquet"), (), ["neg", "pos"]),
    "Parquet with categories": (framed("categories", "data.parquet"), (), ["neg", "pos"]),
    "Parquet of datasets, ClassLabel": (class_labels, (), ["neg", "pos"]),
    "gz": (packed, (), ["neg", "pos"]),
    "zip": (zipped, (), ["neg", "pos"]),
}  # fmt: skip
REFUSED: dict[str, tuple[Write, tuple[str, ...], str]] = {
    "no header": (lines('"0","{text}","{label}"', header=""), (), "write a first line that names the columns"),
    "one-hot vectors": (lines('"{text}","[1, 0]"'), (), "write the names of the labels"),
    "spans": (json_lines(lambda text, label: {"text": text, "label": [[0, 5, label]]}), (), "kind: span"),
    "ids": (json_lines(lambda text, label: {"text": text, "label": text}), (), "name the column with the labels"),
    "one class": (json_lines(lambda text, label: {"text": text, "label": "pos"}), (), "two or more"),
    "objects": (json_lines(lambda text, label: {"text": text, "label": {"name": label}}), (), "label.name"),
    "another name": (lines(QUOTED, header="Text,Label"), (), "did you mean 'Text'"),
    "pandas' columns": (dumped({name: dict(enumerate(values)) for name, values in FRAME.items()}), (), "data.json"),
    "pandas' split": (dumped({"columns": ["text", "label"], "index": [], "data": ROWS}), (), "data.json"),
}


def evaluated(nextlabel: Run, folder: Path, write: Write, arguments: tuple[str, ...]) -> Any:
    """The command on the file; where ``arguments`` name columns, on these."""
    named = {"--text": "text", "--label": "label"} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = [part for pair in named.items() for part in pair]
    return nextlabel(
        "evaluate", write(folder), *options, "--encoder", "hashing", "--no-learning-curve", "--folds", "2", "--json"
    )


@pytest.mark.parametrize("kind", READ)
def test_a_file_has_its_right_figure(nextlabel: Run, folder: Path, kind: str) -> None:
    write, arguments, labels = READ[kind]
    done = evaluated(nextlabel, folder, write, arguments)
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert (found["n"], found["labels"]) == (60, labels)
    assert found["accuracy"]["mean"] == 1.0


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_of_which_no_figure_would_be_right_is_refused_with_what_to_do(
    nextlabel: Run, folder: Path, kind: str
) -> None:
    write, arguments, says = REFUSED[kind]
    done = evaluated(nextlabel, folder, write, arguments)
    assert done.code == 1
    assert says in done.err
