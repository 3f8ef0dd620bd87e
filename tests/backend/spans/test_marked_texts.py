"""Files with spans: both forms read, and every fault named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.marked_texts import read_spans
from nextlabel.connectors.content import Content, content_of
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Span


def lines(path: Path, *rows: Any) -> Path:
    file = path / "spans.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def turns(path: Path, *rows: Any) -> Path:
    file = path / "turns.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def test_json_lines(tmp_path: Path) -> None:
    file = lines(
        tmp_path,
        {"text": "😀 at 7 pm", "spans": [{"start": 5, "end": 9, "label": "time", "extra": 1}], "asked": "when"},
        {"text": "hello", "spans": [], "asked": None},
        {"text": "hi"},
    )
    found = read_spans(file)
    assert found.texts == ("😀 at 7 pm", "hello", "hi")
    assert found.spans == ((Span(5, 9, "time"),), (), ())
    assert found.labels == ("time",)
    assert read_spans(file, context="asked").texts == (Content("😀 at 7 pm", context="when"), "hello", "hi")


def test_other_columns(tmp_path: Path) -> None:
    file = lines(tmp_path, {"body": "ab", "marks": [{"start": 0, "end": 1, "label": "x"}]})
    assert read_spans(file, text="body", spans="marks").spans == ((Span(0, 1, "x"),),)
    with pytest.raises(DataError, match=r"spans.jsonl:1: there is no column 'text'"):
        read_spans(file)


def test_restaurant8k(tmp_path: Path) -> None:
    found = read_spans(
        turns(
            tmp_path,
            {
                "userInput": {"text": "13"},
                "context": {"requestedSlots": ["time", "first_name"]},
                "labels": [{"slot": "time", "valueSpan": {"endIndex": 2}}],
            },
            {
                "userInput": {"text": "for 5 people"},
                "labels": [{"slot": "people", "valueSpan": {"startIndex": 4, "endIndex": 5}}],
            },
            {"userInput": {"text": "hello"}},
        )
    )
    assert found.spans == ((Span(0, 2, "time"),), (Span(4, 5, "people"),), ())
    assert [content_of(text).context for text in found.texts] == ["time, first name", "", ""]
    assert found.labels == ("people", "time")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "ab", "spans": [{"start": 0, "end": 3, "label": "x"}]}, "reaches out of a text of 2"),
        ({"text": "ab", "spans": [{"start": 1, "end": 1, "label": "x"}]}, "is empty"),
        ({"text": "ab", "spans": [{"start": "0", "end": 1, "label": "x"}]}, "needs whole numbers"),
        ({"text": "ab", "spans": [{"start": True, "end": 2, "label": "x"}]}, "needs whole numbers"),
        ({"text": "ab", "spans": [{"start": 0, "end": 1, "label": " "}]}, "needs whole numbers"),
        ({"text": "ab", "spans": ["x"]}, "needs whole numbers"),
        ({"text": "ab", "spans": "x"}, "must be a list"),
        ({"text": 5, "spans": []}, "must hold a text"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, row: Any, says: str) -> None:
    with pytest.raises(DataError, match=f"spans.jsonl:2: .*{says}"):
        read_spans(lines(tmp_path, {"text": "fine", "spans": []}, row))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (5, "a list must hold"),
        ({"text": "ab"}, "a list must hold"),
        ({"userInput": {"text": "ab"}, "labels": [{"slot": "x"}]}, "a label must be"),
        ({"userInput": {"text": "ab"}, "labels": [{"slot": "x", "valueSpan": {"endIndex": 9}}]}, "reaches out"),
        ({"userInput": {"text": "ab"}, "labels": [{"valueSpan": {"endIndex": 1}}]}, "needs whole numbers"),
    ],
)
def test_faults_in_a_list_are_named_with_their_item(tmp_path: Path, row: Any, says: str) -> None:
    with pytest.raises(DataError, match=f"turns.json: item 1: .*{says}"):
        read_spans(turns(tmp_path, row))


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text("[{")
    with pytest.raises(DataError, match=r"broken\.json: can't be read as JSON"):
        read_spans(file)
    with pytest.raises(DataError, match="no such file"):
        read_spans(tmp_path / "absent.json")
