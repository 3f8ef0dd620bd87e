"""``nextlabel annotators``: from a project's store, and from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.service.opening import load_records, open_store
from nextlabel.backend.settings import Settings
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes

Run = Callable[..., Any]

ANSWERS = {"101": {"7": "positive", "8": "negative", "9": "positive"}, "102": {"7": "negative"}}


@pytest.fixture
def project(folder: Path) -> None:
    """Record 1 answered by three people, record 2 by one."""
    recipe, settings = find_recipe("reviews.yaml"), Settings.load()
    given = [
        Annotation(
            f"{remote}-{who}", remote, who, (label,), AnnotationStatus.SUBMITTED, datetime(2026, 11, 22, tzinfo=UTC)
        )
        for remote, answers in ANSWERS.items()
        for who, label in answers.items()
    ]
    with open_store(recipe, settings) as store:
        load_records(recipe, store, settings)
        store.set_remote({"1": "101", "2": "102"})
        store.append(Changes(annotations=tuple(given)), source="webhook")


@pytest.mark.usefixtures("project")
def test_a_project_is_read_from_its_store(nextlabel: Run) -> None:
    done = nextlabel("annotators", "reviews.yaml")
    assert done.code == 0
    assert "two people who answered the same record agree in 33% of cases" in done.err
    found = json.loads(nextlabel("annotators", "reviews.yaml", "--json").out)
    assert {one["name"]: (one["answers"], one["compared"], one["agreed"]) for one in found["annotators"]} == {
        "7": (2, 0, 0),
        "8": (1, 1, 0),
        "9": (1, 0, 0),
    }
    assert all(one["rank"] is None for one in found["annotators"])


@pytest.mark.usefixtures("project")
def test_what_export_writes_says_the_same(nextlabel: Run) -> None:
    wanted = nextlabel("annotators", "reviews.yaml", "--json").out
    for name in ("votes.jsonl", "votes.csv"):
        assert nextlabel("export", "reviews.yaml", "--each", "-o", name).code == 0
        assert nextlabel("annotators", name, "--json").out == wanted


def test_a_file_with_a_column_an_annotator(nextlabel: Run, folder: Path) -> None:
    lines = [f"{n},{n % 2},{n % 2},{n % 2},{1 - n % 2}" for n in range(60)]
    (folder / "wide.csv").write_text("\n".join(["id,a1,a2,a3,b1", *lines]))
    done = nextlabel("annotators", "wide.csv", "--id", "id", "--annotator-columns", "a*", "--annotator-columns", "b1")
    assert done.code == 0
    names = [line.split("│")[2].strip() for line in done.out.splitlines() if line.startswith("│")]
    assert names == ["a1", "a2", "a3", "b1"]
    assert "0: 1 100%; 1: 0 100%" in done.out.splitlines()[-2]
    parted = nextlabel("annotators", "wide.csv", "--id", "id", "--annotator-columns", "a*, b1")
    assert parted.out == done.out


def test_a_file_without_a_header(nextlabel: Run, folder: Path) -> None:
    (folder / "votes.csv").write_text("x;ann;p\nx;ben;p\n")
    columns = ["--id", "column 1", "--annotator", "column 2", "--label", "column 3"]
    assert "agree in 100%" in nextlabel("annotators", "votes.csv", *columns, "--no-header", "--delimiter", ";").err
    assert "say --no-header" in nextlabel("annotators", "votes.csv").err


def test_the_last_answer_counts_and_is_told(nextlabel: Run, folder: Path) -> None:
    (folder / "votes.csv").write_text("uid,annotator,answer\nx,ann,p\nx,ben,q\nx,ann,q\ny,ben,NA\n")
    done = nextlabel("annotators", "votes.csv")
    assert "1 answer comes after another of the same annotator" in done.err
    assert "labels taken for missing: 'NA' (1)" in done.err
    assert "agree in 100% of cases" in done.err


def test_nothing_is_said_of_who_was_compared_with_nobody(nextlabel: Run, folder: Path) -> None:
    (folder / "votes.csv").write_text("uid,annotator,answer\nx,ann,p\nx,ben,p\ny,eve,q\n")
    rows = [line.split("│") for line in nextlabel("annotators", "votes.csv").out.splitlines() if line.startswith("│")]
    assert [(row[2].strip(), row[5].strip() == "–", row[6].strip() == "–") for row in rows] == [
        ("ann", False, False),
        ("ben", False, False),
        ("eve", True, True),
    ]


def test_without_a_second_answer_it_says_what_to_do(nextlabel: Run, folder: Path) -> None:
    (folder / "alone.csv").write_text("uid,annotator,answer\nx,a,1\ny,b,0\n")
    assert "nextlabel relabel" in nextlabel("annotators", "alone.csv").err


def test_several_labels_are_refused(nextlabel: Run, folder: Path) -> None:
    (folder / "multi.jsonl").write_text('{"uid": "x", "annotator": "a", "answer": ["p", "q"]}\n')
    done = nextlabel("annotators", "multi.jsonl")
    assert (done.code, "single labels" in done.err) == (1, True)
    text = (folder / "reviews.yaml").read_text()
    (folder / "multi.yaml").write_text(text + "kind: multi\n")
    open_store(find_recipe("multi.yaml"), Settings.load()).close()
    assert "single ones" in nextlabel("annotators", "multi.yaml").err
