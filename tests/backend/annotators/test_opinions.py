"""Opinions from files and from the annotation log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.annotators.consensus import agree
from nextlabel.backend.annotators.opinions import Opinions, from_annotations, read_columns, read_rows
from nextlabel.backend.annotators.quality import annotator_quality
from nextlabel.backend.data.tables import Table, open_table
from nextlabel.connectors.errors import DataError, LearningError
from nextlabel.connectors.records import Annotation, AnnotationStatus
from tests.backend.annotators.crowd import crowd, numbered, to_matrix


def table(folder: Path, text: str) -> Table:
    path = folder / "votes.csv"
    path.write_text(text, encoding="utf-8")
    return open_table(str(path), ())


def told(opinions: Opinions, ids: tuple[str, ...]) -> set[tuple[str, str, str]]:
    return {
        (ids[record], opinions.annotators[who], opinions.labels[label])
        for record, who, label in zip(opinions.record, opinions.annotator, opinions.label, strict=True)
    }


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    wide = read_columns(table(tmp_path, "id,a1,a2\nx,1.0,\ny,0.0,1.0\nz,,\n"), "id", ["a*"])
    long = read_rows(table(tmp_path, "id,who,answer\nx,a1,1\ny,a1,0\ny,a2,1\nx,a2,\n"), "id", "who", "answer")
    assert told(wide.opinions, wide.ids) == told(long.opinions, long.ids)
    assert told(wide.opinions, wide.ids) == {("x", "a1", "1"), ("y", "a1", "0"), ("y", "a2", "1")}
    assert (wide.opinions.size, long.opinions.size) == (3, 2)  # nobody answered z; a list of answers can't know it


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,who,answer\nx,,1\n", r":2: an answer needs"),
        ("id,who,answer\nx,a,maybe\n", r":2: the label is 'maybe'"),
        ("id,who,anser\nx,a,1\n", r"did you mean 'anser'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_rows(table(tmp_path, text), "id", "who", "answer", ("0", "1"))


def test_the_last_of_two_answers_counts_and_is_told(tmp_path: Path) -> None:
    votes = read_rows(table(tmp_path, "id,who,answer\nx,a,1\nx,b,1\nx,a,0\n"), "id", "who", "answer")
    assert told(votes.opinions, votes.ids) == {("x", "a", "0"), ("x", "b", "1")}
    assert votes.remarks == ("1 answer comes after another of the same annotator to the same record: the last counts",)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column is called 'b\*'"):
        read_columns(table(tmp_path, "id,a1\nx,1\n"), "id", ["b*"])


def test_a_log_counts_the_newest_submitted_answer_of_everybody() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def one(minute: int, remote: str, who: str, *value: str, status: str = "submitted") -> Annotation:
        at = start + timedelta(minutes=minute)
        return Annotation(f"{minute}", remote, who, value, AnnotationStatus(status), at)

    log = [
        one(5, "r1", "ann", "yes"),
        one(1, "r1", "ann", "no"),
        one(2, "r1", "bob", "no", status="skipped"),
        one(3, "r2", "bob", "perhaps"),
        one(4, "elsewhere", "bob", "no"),
        one(6, "r2", "ann", "no"),
    ]
    found = from_annotations(log, {"r1": 0, "r2": 1}, 3, ("yes", "no"))
    assert told(found, ("one", "two", "three")) == {("one", "ann", "yes"), ("two", "ann", "no")}
    assert found.per_record.tolist() == [1, 1, 0]


def test_some_of_the_records() -> None:
    opinions, _, _ = crowd(0)
    picked = opinions.take([5, 3])
    np.testing.assert_array_equal(to_matrix(picked), to_matrix(opinions)[[5, 3]])


def test_what_does_not_fit_is_refused() -> None:
    zero = np.zeros(2, np.int64)
    with pytest.raises(LearningError, match="has 2 answers about record 0"):
        Opinions(zero, zero, zero, 1, ("a",), ("x",))
    with pytest.raises(LearningError, match="label: must lie in"):
        Opinions(zero, np.arange(2), zero + 3, 1, ("a", "b"), ("x",))
    with pytest.raises(LearningError, match=r"several labels are bool \[2, 2\], not int64 \[2, 2\]"):
        numbered([0, 1], [0, 0], np.eye(2, dtype=np.int64), 2, 2)


def test_several_labels_are_a_question_each() -> None:
    said = numbered([0, 0, 2], [0, 1, 1], [[True, False], [False, True], [True, True]], 3, 2)
    assert (said.several, said.per_record.tolist()) == (True, [2, 0, 1])
    assert said.take([2]).label.tolist() == [[True, True]]
    assert [said.about(at).label.tolist() for at in (0, 1)] == [[1, 0, 1], [0, 1, 1]]
    assert said.about(0).votes.tolist() == [[1, 1], [0, 0], [0, 1]]
    for compare in (agree, annotator_quality):
        with pytest.raises(LearningError, match="one of the several by about"):
            compare(said)
