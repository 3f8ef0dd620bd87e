"""What a cell says: one rule, whoever reads the file."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.annotators.opinions import read_rows
from nextlabel.backend.data.cells import MISSING, value_text, values_in
from nextlabel.backend.data.label_checks import remarks_on_content
from nextlabel.backend.data.labelled import LabelledColumns, read_labelled
from nextlabel.backend.data.records import Columns, read_answers
from nextlabel.backend.data.tables import open_table
from nextlabel.backend.simulation.data import Asked
from nextlabel.backend.simulation.data import read_answers as replayed
from nextlabel.connectors.errors import DataError


def written(folder: Path, *values: Any) -> str:
    rows = [{"id": f"r{at}", "text": f"text {at}", "who": "ann", "label": value} for at, value in enumerate(values)]
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.0, "1"),
        (1, "1"),
        ("1.0", "1"),
        ("-1.0", "-1"),
        (0.5, "0.5"),
        ("1.5", "1.5"),
        (True, "true"),
        ("FALSE", "false"),
        (" a ", "a"),
        (["a"], "a"),
        ("['a']", "a"),
        ("[sic]", "[sic]"),
    ],
)
def test_an_answer_is_the_same_to_recipe_evaluation_and_annotators(tmp_path: Path, value: Any, said: str) -> None:
    source = written(tmp_path, value, "b")
    assert list(read_answers(source, Columns({"text": "text"}, answer="label")).values()) == [said, "b"]
    assert read_labelled(source, LabelledColumns("text", "label")).labels == [(said,), ("b",)]
    votes = read_rows(open_table(source, ["id", "who", "label"]), "id", "who", "label")
    assert set(votes.opinions.labels) == {said, "b"}


@pytest.mark.parametrize("value", [None, float("nan"), "", "  ", *sorted(MISSING)])
def test_what_is_missing_is_no_answer(tmp_path: Path, value: Any) -> None:
    source = written(tmp_path, value, "b")
    assert list(read_answers(source, Columns({"text": "text"}, answer="label")).values()) == ["b"]
    assert read_labelled(source, LabelledColumns("text", "label")).unlabelled == 1


def test_two_labels_in_one_answer_are_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.jsonl:1: the column 'label' holds 2 values; one is expected"):
        read_answers(written(tmp_path, ["a", "b"]), Columns({"text": "text"}, answer="label"))


def test_a_word_for_missing_is_a_label_if_it_is_said(tmp_path: Path) -> None:
    source = written(tmp_path, "None", "None", "b")
    rows = read_labelled(source, LabelledColumns("text", "label"))
    assert rows.labels == [("b",)]
    assert rows.remarks == ["labels taken for missing: 'None' (2); if they are labels, say --missing-is-label"]
    assert read_labelled(source, LabelledColumns("text", "label", verbatim=MISSING)).labels == [("None",)] * 2 + [
        ("b",)
    ]
    columns = Columns({"text": "text"}, answer="label", labels=("None", "b"))
    assert list(read_answers(source, columns).values()) == ["None", "None", "b"], "the recipe says so by its labels"


def test_an_annotator_may_be_called_na(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("id,who,label\n1,NA,x\n1,ben,y\n")
    assert read_rows(open_table(str(path), ["id"]), "id", "who", "label").opinions.annotators == ("NA", "ben")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("['bad', 'late']", ["bad", "late"]),
        ('["bad", "late"]', ["bad", "late"]),
        ("['bad' 'late']", ["bad", "late"]),
        ("['bad'\n 'late']", ["bad", "late"]),
        ("[0 1 0]", [0, 1, 0]),
        ("[0. 1.]", [0.0, 1.0]),
        ("[]", []),
        (("a", "b"), ["a", "b"]),
        ('{"choices": ["a", "b"]}', ["a", "b"]),
        ({"choices": ["a"]}, ["a"]),
        ("[sic]", None),
        ("[open", None),
        ("{x}", None),
        ("[" * 100_000 + "]", None),
        (3, None),
    ],
)
def test_a_list_is_a_list_however_it_is_written(value: Any, found: Any) -> None:
    assert values_in(value) == found


def test_dates_decimals_and_bytes_are_text() -> None:
    assert [value_text(one) for one in (date(2024, 1, 2), datetime(2024, 1, 2, 3), Decimal("1.50"), "é".encode())] == [
        "2024-01-02",
        "2024-01-02T03:00:00",
        "1.50",
        "é",
    ]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], r"vectors of 2 numbers \(\[0, 1\]\)"),
        ([[0, 1, 1], [1, 0, 1]], "vectors of 3 numbers"),
        ([[0.25, 0.75], [0.5, 0.5]], "vectors of 2 numbers"),
        (["[0 1 0]", "[1 0 0]"], "vectors of 3 numbers"),
        ([[True, False], [False, True]], "vectors of 2 numbers"),
        ([[[0, 5, "X"]], [[2, 4, "X"]]], r":1: the column 'label' holds spans, such as \[0, 5, 'X'\]"),
        (['[{"start": 0, "end": 2, "labels": ["X"]}]', "[]"], "holds spans"),
        ([{"start": 0, "end": 5, "label": "X"}, "a"], "holds spans"),
        ([[{"name": "a"}], []], "holds objects"),
        ([f"u{at}" for at in range(30)], "30 different labels in 30 rows"),
        ([at / 7 for at in range(1, 30)], "like ids, texts or measurements"),
        ([["a", "b"], ["b", "a"]], r"every row has the same labels \(a, b\)"),
    ],
)
def test_what_can_be_no_label_is_refused(tmp_path: Path, labels: list[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labelled(written(tmp_path, *labels), LabelledColumns("text", "label"))


@pytest.mark.parametrize("labels", [[[27], [2, 14], []], [[0, 1], [1]], [[1, 2], [2, 3]], [["a"], ["a", "b"]]])
def test_lists_of_numbers_may_be_labels(tmp_path: Path, labels: list[Any]) -> None:
    rows = read_labelled(written(tmp_path, *labels), LabelledColumns("text", "label"))
    assert (rows.several, rows.labels) == (True, [tuple(map(str, one)) for one in labels])


def test_texts_that_are_numbers_are_said(tmp_path: Path) -> None:
    rows = read_labelled(written(tmp_path, "a", "b"), LabelledColumns("label", "id"))
    assert not rows.remarks
    path = tmp_path / "numbers.csv"
    path.write_text("text,label\n1,a\n2.5,b\n")
    assert "nothing but numbers" in read_labelled(str(path), LabelledColumns("text", "label")).remarks[0]


def test_answers_that_are_ids_are_not_replayed(tmp_path: Path) -> None:
    asked = Asked(LabelledColumns("text", "label"), annotator="who")
    with pytest.raises(DataError, match="30 different labels in 30 rows"):
        replayed(written(tmp_path, *(f"u{at}" for at in range(30))), asked)
    assert replayed(written(tmp_path, 1, "1.0", "NA", 0), asked).labels() == ("0", "1")


def test_a_thousand_labels_are_said() -> None:
    many = [(f"l{at % 1000}",) for at in range(4000)]
    assert "there are 1,000 different labels" in remarks_on_content("text", ["a"] * 4000, many)[0]
    assert not remarks_on_content("text", ["a"] * 4000, many[:999])
