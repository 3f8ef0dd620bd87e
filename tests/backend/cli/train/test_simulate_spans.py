"""``nextlabel simulate --spans``: curves of span F1, the page, what goes on where it was, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.cli.train.test_evaluate_spans import lines, marks, tagged

pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]
QUICK = ("--encoder", "hashing", "--budget", "24", "--batch", "8", "--seeds", "2", "--jobs", "1")
COLUMNS = ("--text", "body", "--spans", "marks")


@pytest.fixture
def figures(nextlabel: Run) -> Run:
    """The JSON on the last line of stdout."""

    def run(*arguments: str) -> dict[str, Any]:
        done = nextlabel("simulate", *arguments, *QUICK, "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return found

    return run


def test_strategies_are_replayed_and_measured_by_span_f1(figures: Run, folder: Path) -> None:
    data = lines(folder, marks())
    found = figures(data, *COLUMNS, "--group", "who", "--strategies", "margin,least-sure-span,badge,k-center")
    assert set(found["strategies"]) == {"margin", "least-sure-span", "badge", "k-center", "random"}
    assert (found["metric"], found["n"], found["spans"], found["labels"]) == ("span_f1", 90, 160, ["city", "day"])
    for runs in found["runs"].values():
        assert [run[0] for run in runs] == [0.0, 0.0]  # nobody has said what a span is
        assert all(run[-1] > 0.4 for run in runs)
    assert found["full_data_score"]["mean"] >= max(run[-1] for run in found["runs"]["random"]) - 0.1
    page = (folder / "simulation" / "index.html").read_text()
    for words in ("span F1", "the probe on token vectors", "nothing known of what is to be marked"):
        assert words in page


def test_processes_come_to_the_same_and_finished_curves_are_kept(figures: Run, folder: Path) -> None:
    data = lines(folder, marks())
    asked = (data, *COLUMNS, "--strategies", "margin")
    runs = figures(*asked, "--jobs", "2")["runs"]
    assert figures(*asked)["runs"] == runs
    again = figures(*asked, "--fresh")
    assert again["runs"] == runs
    assert again["cpu_seconds"] > 0


def test_tokens_with_tags_are_the_same_as_offsets(figures: Run, folder: Path) -> None:
    expected = figures(lines(folder, marks()), *COLUMNS, "--strategies", "margin")
    found = figures(tagged(folder, marks()), "--strategies", "margin")
    assert found["runs"] == expected["runs"]


def test_a_split_fixes_what_is_tested_on(figures: Run, folder: Path) -> None:
    found = figures(lines(folder, marks()), *COLUMNS, "--split", "part=b:a", "--strategies", "margin")
    assert (found["pool"], found["tested"]) == (60, 30)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--label", "who"), "--label is not for --spans"),
        (("--noise", "0.1"), "--noise is not for --spans"),
        (("--metric", "accuracy"), "--metric accuracy is not for --spans"),
        (("--rung", "fine-tune"), "--rung is not for --spans"),
        (("--annotator", "who"), "--annotator is not for --spans"),
        (("--strategies", "activelab"), "activelab weighs several answers to a record"),
        (("--strategies", "margin/crowdlab"), "margin/crowdlab weighs several answers"),
        (("--budget", "500"), "there are 68 records to choose from"),
    ],
)
def test_what_cannot_be_is_told_with_the_fix(
    nextlabel: Run, folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = nextlabel("simulate", lines(folder, marks()), *COLUMNS, *QUICK, *arguments)
    assert done.code == 1
    assert says in done.err.replace("\n", " ")
