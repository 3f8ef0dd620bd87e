"""``nextlabel evaluate --spans``: files as people have them, figures with their interval, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.cli.train.conftest import written

pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]
CITIES = ("Paris", "Lima", "Oslo", "Rome", "Cairo")
DAYS = ("Monday", "Friday", "Sunday")


def marks(count: int = 90) -> list[dict[str, Any]]:
    """Sentences with a city and a day, by people of three; every ninth has nothing to mark."""
    made = []
    for number in range(count):
        city, day = CITIES[number % 5], DAYS[number % 3]
        text = f"ticket {number}: to {city} on {day}" if number % 9 else f"ticket {number}: thanks a lot"
        spans = [
            {"start": text.index(word), "end": text.index(word) + len(word), "label": label}
            for word, label in ((city, "city"), (day, "day"))
            if word in text
        ]
        made.append({"body": text, "marks": spans, "who": f"p{number // 3}", "part": "b" if number % 3 else "a"})
    return made


def lines(folder: Path, made: list[dict[str, Any]]) -> str:
    (folder / "tickets.jsonl").write_text("\n".join(map(json.dumps, made)))
    return "tickets.jsonl"


@pytest.fixture
def evaluate(nextlabel: Run) -> Run:
    def run(data: str, *arguments: str) -> Any:
        asked = ("--text", "body", "--spans", "marks", "--encoder", "hashing", "--folds", "3")
        return nextlabel("evaluate", data, *asked, *arguments)

    return run


@pytest.fixture
def figures(evaluate: Run) -> Run:
    def run(data: str, *arguments: str) -> dict[str, Any]:
        done = evaluate(data, *arguments, "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return found

    return run


def test_span_f1_by_label_with_intervals_and_a_learning_curve(figures: Run, evaluate: Run, folder: Path) -> None:
    data = lines(folder, marks())
    found = figures(data)
    assert found["span_f1"]["low"] < found["span_f1"]["mean"] <= found["span_f1"]["high"]
    assert found["span_f1"]["mean"] > 0.8
    assert {one["label"]: one["support"] for one in found["by_label"]} == {"city": 80, "day": 80}
    assert (found["n"], found["spans"], found["labels"]) == (90, 160, ["city", "day"])
    points = found["learning_curve"]["points"]
    assert [one["labels"] for one in points] == sorted(one["labels"] for one in points)
    assert points[-1]["f1"] == found["span_f1"]
    again = figures(data)
    assert again.pop("seconds") >= 0
    assert again == {key: value for key, value in found.items() if key != "seconds"}
    shown = evaluate(data)
    for word in ("span F1", "city", "learning curve"):
        assert word in shown.out


def test_json_in_cells_and_lists_of_three_are_the_same(figures: Run, folder: Path) -> None:
    expected = figures(lines(folder, marks()))["span_f1"]
    cells = [{**row, "marks": json.dumps(row["marks"])} for row in marks()]
    assert figures(written(folder / "tickets.csv", cells))["span_f1"] == expected
    three = [{**row, "marks": [[one["start"], one["end"], one["label"]] for one in row["marks"]]} for row in marks()]
    assert figures(lines(folder, three))["span_f1"] == expected


def test_white_space_means_nothing_and_marks_without_sense_are_named(evaluate: Run, figures: Run, folder: Path) -> None:
    expected = figures(lines(folder, marks()))
    made = marks()
    made[1]["marks"][0]["start"] -= 1  # the blank before the city
    made[2]["marks"].append({"start": 5, "end": 5, "label": "city"})
    made[4]["marks"].append({"start": 0, "end": 500, "label": "city"})
    data = lines(folder, made)
    assert figures(data)["span_f1"] == expected["span_f1"]
    told = evaluate(data).err.replace("\n", " ")
    assert "left out: 2 marks" in told
    assert "tickets.jsonl:3: the span 'city' from 5 to 5 is empty" in told
    assert "tickets.jsonl:5: the span 'city' from 0 to 500 reaches out" in told


def test_groups_widen_the_interval_and_a_split_is_kept(figures: Run, folder: Path) -> None:
    data = lines(folder, marks())
    assert "groups" in figures(data, "--group", "who")["how"]
    split = figures(data, "--split", "part=b:a", "--no-learning-curve")
    assert (split["n"], split["learning_curve"]) == (30, None)
    assert "learned from 60 texts" in split["how"]
    (folder / "more.jsonl").write_text("\n".join(map(json.dumps, marks(60))))
    leaking = figures("more.jsonl", "--group", "who", "--test", lines(folder, marks(30)))
    assert leaking["n"] == 30
    for words in ("30 of the 30 texts to test on are also learned from", "of a group that is also learned from"):
        assert any(words in remark for remark in leaking["remarks"])
    seeds = figures(data, "--seeds", "2", "--no-learning-curve")
    assert seeds["seeds"] == 2


def test_rows_that_nobody_looked_at_are_left_out(evaluate: Run, figures: Run, folder: Path) -> None:
    made = marks()
    made[0]["marks"], made[3]["body"] = None, " "
    data = lines(folder, made)
    assert figures(data)["n"] == 88
    assert "left out: 1 rows without text and 1 rows without spans" in evaluate(data).err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--label", "who"), "or --spans, the column with what is marked"),
        (("--rung", "fine-tune"), "spans are evaluated with the probe on token vectors"),
        (("--positive", "city"), "--positive is not for --spans"),
        (("--separator", ";"), "--separator is not for --spans"),
        (("--split", "part=a:c"), "no row has 'c'"),
        (("--group", "wh"), "did you mean 'who'?"),
    ],
)
def test_what_cannot_be_is_told_with_the_fix(
    evaluate: Run, folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = evaluate(lines(folder, marks(12)), *arguments)
    assert done.code == 1
    assert says in done.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("city", "which is no JSON; write a list like"),
        ([{"start": "0", "end": 3, "label": "city"}], "a span needs whole numbers start and end, and a label"),
        ({"start": 0}, "and no list of spans"),
        ([[0, 3]], "a span needs whole numbers"),
    ],
)
def test_cells_that_hold_no_spans_are_named(evaluate: Run, folder: Path, cell: Any, says: str) -> None:
    made = marks(12)
    made[4]["marks"] = cell
    done = evaluate(lines(folder, made))
    assert done.code == 1
    assert "tickets.jsonl:5: the column 'marks'" in done.err
    assert says in done.err.replace("\n", " ")


def test_a_file_without_any_mark(evaluate: Run, folder: Path) -> None:
    assert "nothing is marked in any text" in evaluate(lines(folder, [{**row, "marks": []} for row in marks(9)])).err


def tagged(folder: Path, made: list[dict[str, Any]], name: str = "tickets.conll") -> str:
    """The same texts as tokens with tags, a sentence each."""
    lines = []
    for row in made:
        at = 0
        for token in row["body"].split():
            start = row["body"].index(token, at)
            at = start + len(token)
            label = next((one["label"] for one in row["marks"] if one["start"] == start), "")
            lines.append(f"{token}\t{f'B-{label}' if label else 'O'}")
        lines.append("")
    (folder / name).write_text("\n".join(lines))
    return name


def test_a_file_of_tokens_and_tags_needs_no_columns(figures: Run, nextlabel: Run, folder: Path) -> None:
    expected = figures(lines(folder, marks()))
    asked = ("--encoder", "hashing", "--folds", "3")
    for name in ("tickets.conll", "tickets.txt"):  # told by its name, and by its beginning
        done = nextlabel("evaluate", tagged(folder, marks(), name), *asked, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out.splitlines()[-1])
        assert (found["n"], found["spans"], found["span_f1"]) == (90, 160, expected["span_f1"])
    tested = nextlabel("evaluate", "tickets.conll", "--test", tagged(folder, marks(30), "test.conll"), *asked, "--json")
    assert json.loads(tested.out.splitlines()[-1])["n"] == 30


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("tickets.conll", "--spans", "tag", "--group", "who"),
            "--group names a column, and tickets.conll has a token",
        ),
        (("missing.conll",), "missing.conll: there is no such file"),
        (("broken.conll",), "broken.conll:1: line 2 has no tag"),
    ],
)
def test_faults_of_such_a_file_are_told(nextlabel: Run, folder: Path, arguments: tuple[str, ...], says: str) -> None:
    tagged(folder, marks(9))
    (folder / "broken.conll").write_text("to O\nParis\n")
    done = nextlabel("evaluate", *arguments, "--encoder", "hashing")
    assert done.code == 1
    assert says in done.err.replace("\n", " ")


def test_the_page_shows_what_was_measured(evaluate: Run, folder: Path) -> None:
    done = evaluate(lines(folder, marks()), "--report", "page.html", "--pictures", "drawn")
    assert done.code == 0, done.err
    page = (folder / "page.html").read_text()
    for words in ("Span F1", "95% intervals", "missed", "Learning curve", "city", "the probe on token vectors"):
        assert words in page
    assert {one.name for one in (folder / "drawn").iterdir()} == {"labels.png", "learning-curve.png"}
