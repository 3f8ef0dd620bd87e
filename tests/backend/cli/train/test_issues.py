"""``nextlabel issues`` on files as people have them, and on a project's store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.cli.train.conftest import written
from tests.backend.reports.made import RECIPE, answer, make, slices, truth

pytestmark = pytest.mark.usefixtures("cache")
pytest.importorskip("cleanlab")

Run = Callable[..., Any]
GOOD, BAD = ("lovely", "splendid", "delightful", "superb"), ("awful", "dreadful", "horrible", "nasty")
OTHER = {"good": "bad", "bad": "good"}


def rows(wrong: tuple[int, ...] = (), count: int = 60) -> list[dict[str, str]]:
    """Reviews that a bag of words tells apart; those at ``wrong`` have the other label."""
    found = []
    for at in range(count):
        word, stars = ((GOOD, "pos"), (BAD, "neg"))[at % 2]
        said = {"pos": "neg", "neg": "pos"}[stars] if at in wrong else stars
        text = f"the {word[at // 2 % 4]} meal number{at} was {word[at // 3 % 4]}"
        found.append({"review": text, "stars": said, "user": f"u{at // 5}", "who": ("ann", "ben")[at % 2]})
    return found


@pytest.fixture
def found(nextlabel: Run) -> Callable[..., dict[str, Any]]:
    """The JSON on the last line of stdout."""

    def run(data: str, *arguments: str) -> dict[str, Any]:
        options = ("--text", "review", "--encoder", "hashing", *arguments, "--json")
        done = nextlabel("issues", data, *options)
        assert done.code == 0, done.err
        last: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return last

    return run


def test_rows_are_counted_as_a_spreadsheet_does_and_the_worst_come_first(folder: Path, found: Run) -> None:
    made = rows(wrong=(10, 33))
    made[4]["review"] = "two\nlines of a lovely meal that was superb"
    made.insert(20, {"review": "", "stars": "pos", "user": "", "who": ""})
    told = found(written(folder / "data.csv", made), "--label", "stars")
    assert told["answers"] == 60
    assert told["likely"] == len(told["issues"]) == 2
    assert [one["score"] for one in told["issues"]] == sorted(one["score"] for one in told["issues"])
    assert {one["row"]: (one["given"], one["suggested"]) for one in told["issues"]} == {
        12: ("neg", "pos"),
        36: ("pos", "neg"),
    }
    for one in told["issues"]:
        assert made[one["index"]]["review"] == one["text"]
        assert one["row"] == one["index"] + 2, "the header is row 1"
    assert "left out: 1 rows without text" in told["remarks"]
    assert {one["name"]: one["likely"] for one in told["by_label"]} == {"pos": 1, "neg": 1}


def test_json_lines_have_no_header(folder: Path, found: Run) -> None:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(wrong=(10,))))
    told = found("data.jsonl", "--label", "stars")
    assert [(one["row"], one["index"]) for one in told["issues"]] == [(11, 10)]


def test_top_tells_as_many_as_are_asked_for(folder: Path, found: Run) -> None:
    told = found(written(folder / "data.csv", rows(wrong=(10,))), "--label", "stars", "--top", "7")
    assert [one["likely"] for one in told["issues"]] == [True] + [False] * 6
    assert told["issues"][0]["index"] == 10


def test_with_annotators_a_text_may_have_several_rows(folder: Path, found: Run) -> None:
    made = [dict(row, who=who) for row in rows() for who in ("ann", "ben", "eve")]
    made[30 * 3 + 2]["stars"] = "neg"
    told = found(written(folder / "data.csv", made), "--label", "stars", "--annotator", "who")
    assert (told["answers"], told["records"]) == (180, 60)
    assert [(one["index"], one["annotator"]) for one in told["issues"]] == [(92, "eve")]
    assert told["by_annotator"][0]["name"] == "eve"
    assert told["duplicates"] == [], "answers to one text are no copies"


def test_one_annotators_answers_alone(folder: Path, found: Run, nextlabel: Run) -> None:
    data = written(folder / "data.csv", rows(wrong=(10, 33)))
    told = found(data, "--label", "stars", "--annotator", "who", "--by", "ben")
    assert [one["index"] for one in told["issues"]] == [33]
    assert (told["answers"], told["likely"]) == (30, 1)
    options = ("--text", "review", "--label", "stars", "--encoder", "hashing")
    assert "--annotator COLUMN" in nextlabel("issues", data, *options, "--by", "ben").err
    assert "nobody called 'zoe'" in nextlabel("issues", data, *options, "--annotator", "who", "--by", "zoe").err


def test_copies_with_different_labels_are_told(folder: Path, found: Run) -> None:
    made = rows()
    made[40] = dict(made[2], stars="neg")
    told = found(written(folder / "data.csv", made), "--label", "stars")
    assert [[one["index"] for one in group["records"]] for group in told["duplicates"]] == [[2, 40]]
    assert {one["given"] for one in told["duplicates"][0]["records"]} == {"pos", "neg"}


def test_groups_are_kept_whole(folder: Path, nextlabel: Run) -> None:
    data = written(folder / "data.csv", [dict(row, user="one") for row in rows()])
    done = nextlabel("issues", data, "--text", "review", "--label", "stars", "--encoder", "hashing", "--group", "user")
    assert done.code == 1
    assert "one group" in done.err


def test_several_labels(folder: Path, found: Run) -> None:
    made = [dict(row, stars=f"{row['stars']};meal") for row in rows()]
    made[9]["stars"] = "pos;neg;meal"
    made[12]["stars"] = ""
    told = found(written(folder / "data.csv", made), "--label", "stars", "--separator", ";", "--top", "3")
    assert {one["index"] for one in told["issues"][:2]} == {9, 12}
    by_index = {one["index"]: one for one in told["issues"]}
    assert by_index[9]["given"] == ["pos", "neg", "meal"]
    assert by_index[9]["suggested"] == ["neg", "meal"] or by_index[9]["suggested"] == ["meal", "neg"]


def test_marks(folder: Path, found: Run) -> None:
    lines = []
    for at in range(60):
        city = ("Paris", "Rome", "Oslo")[at % 3]
        text = f"flight {at} goes to {city} today"
        mark = {"start": text.index(city), "end": text.index(city) + len(city), "label": "CITY"}
        lines.append(json.dumps({"review": text, "marks": [] if at == 7 else [mark]}))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    told = found("data.jsonl", "--spans", "marks")
    assert [one["index"] for one in told["issues"]] == [7]
    assert told["issues"][0]["given"] == []
    assert told["issues"][0]["suggested"][0]["label"] == "CITY"


def test_the_terminal_shows_tables(folder: Path, nextlabel: Run) -> None:
    data = written(folder / "data.csv", rows(wrong=(10,)))
    done = nextlabel("issues", data, "--text", "review", "--label", "stars", "--encoder", "hashing")
    assert done.code == 0
    assert "1 of 60 answers are likely wrong" in done.err
    assert "row 12" in done.out
    assert "by label" in done.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--text", "revew", "--label", "stars"), "review"),
        (("--text", "review"), "give one of --label"),
        (("--text", "review", "--label", "stars", "--spans", "stars"), "give one of --label"),
        (("--text", "review", "--label", "stars", "--send"), "name a recipe"),
        (("--text", "review", "--label", "stars", "--annotator", "nobody"), "nobody"),
        (("--label", "stars"), "--text COLUMN"),
        (("--text", "review", "--label", "stars", "--separator", ""), "--separator is empty"),
        (("--text", "review", "--spans", "stars"), "needs a list like"),
        (("--text", "review", "--label", "one"), "only the label"),
    ],
)
def test_bad_input_is_refused_in_words(folder: Path, nextlabel: Run, arguments: tuple[str, ...], reason: str) -> None:
    data = written(folder / "data.csv", [dict(row, one="same") for row in rows()])
    done = nextlabel("issues", data, *arguments, "--encoder", "hashing")
    assert (done.code, done.out) == (1, "")
    assert reason in done.err
    assert "defect" not in done.err


def test_marks_that_make_no_sense_are_named_with_their_line(folder: Path, nextlabel: Run) -> None:
    bad = json.dumps([{"start": 3, "end": 99, "label": "CITY"}])
    for cell, reason in ((bad, "reaches out of a text"), ('[{"start": 1}]', "without start, end and label")):
        (folder / "data.jsonl").write_text(json.dumps({"review": "to Rome", "marks": cell}) + "\n")
        done = nextlabel("issues", "data.jsonl", "--text", "review", "--spans", "marks", "--encoder", "hashing")
        assert done.code == 1
        assert "data.jsonl:1" in done.err
        assert reason in done.err


def test_a_row_without_an_annotator_is_named(folder: Path, nextlabel: Run) -> None:
    made = rows()
    made[5]["who"] = ""
    data = written(folder / "data.csv", made)
    done = nextlabel(
        "issues", data, "--text", "review", "--label", "stars", "--annotator", "who", "--encoder", "hashing"
    )
    assert done.code == 1
    assert "row 7 has a label and nobody in the column 'who'" in done.err


def test_too_few_rows_are_refused(folder: Path, nextlabel: Run) -> None:
    data = written(folder / "data.csv", rows(count=6))
    done = nextlabel("issues", data, "--text", "review", "--label", "stars", "--encoder", "hashing")
    assert done.code == 1
    assert "too few to doubt any answer" in done.err


def test_a_project_is_looked_through_without_its_platform(
    folder: Path, nextlabel: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTLABEL_HOME", str(folder / "home"))
    assert "nothing was run" in nextlabel("issues", "reviews.yaml").err
    with make(folder, 120, 30) as store:
        done = nextlabel("issues", RECIPE)
        assert done.code == 1
        assert "no record has a label yet" in done.err
        chosen, audit = slices(store)
        given = {at: {("ann", "ben")[at % 2]: truth(at)} for at in [*chosen, *audit]}
        given[chosen[3]] = {"ben": OTHER[truth(chosen[3])]}
        given[audit[2]] = {"ben": OTHER[truth(audit[2])]}
        answer(store, given)
        done = nextlabel("issues", RECIPE, "--json")
        assert done.code == 0, done.err
        told = json.loads(done.out.splitlines()[-1])
        assert {(one["uid"], one["annotator"], one["audit"]) for one in told["issues"]} == {
            (str(chosen[3]), "ben", False),
            (str(audit[2]), "ben", True),
        }
        assert told["asked_again"] == {"asked": 0, "answered": 0, "changed": 0, "kept": 0}
        assert nextlabel("issues", RECIPE).code == 0
        told = json.loads(nextlabel("issues", RECIPE, "--by", "ann", "--json").out.splitlines()[-1])
        assert (told["likely"], told["answers"]) == (0, sum(set(one) == {"ann"} for one in given.values()))
        assert "there are ann, ben" in nextlabel("issues", RECIPE, "--by", "zoe").err
        done = nextlabel("report", RECIPE, "--json", "--out", "report.html")
        assert done.code == 0, done.err
        reported = json.loads(done.out.splitlines()[-1])["issues"]
        assert {one["uid"] for one in reported["issues"]} == {str(chosen[3]), str(audit[2])}
        page = (folder / "report.html").read_text()
        assert "<h2>Label quality</h2>" in page
        assert "2 of 120 answers are likely wrong" in page
        assert f"nextlabel issues {RECIPE} --send" in page
        assert json.loads(nextlabel("report", RECIPE, "--quick", "--json").out.splitlines()[-1])["issues"] is None
        done = nextlabel("issues", RECIPE, "--send")
        assert done.code == 1
        assert "no service" in done.err
