"""``nextlabel simulate`` on files as people have them: figures, the page, and what is refused and why."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.cli.train.conftest import written
from tests.backend.tiny_bert import tiny_bert

pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]
WORDS = {"pos": ("lovely", "splendid", "superb", "fine"), "neg": ("awful", "dreadful", "nasty", "poor")}
QUICK = ("--encoder", "hashing", "--budget", "12", "--batch", "6", "--seeds", "2", "--jobs", "1")


def rows(count: int = 60) -> list[dict[str, str]]:
    """Reviews by users of four, with what three annotators said: the third is wrong about every fifth."""
    toss, found = random.Random(0), []
    for at in range(count):
        right, wrong = (("pos", "neg"), ("neg", "pos"))[at % 2]
        text = f"a {toss.choice(WORDS[right])} meal {at}, {toss.choice(WORDS[right])}"
        third = wrong if at % 5 == 0 else right
        found.append(
            {"review": text, "stars": right, "user": f"u{at // 4}", "part": "test" if at % 4 == 0 else "train",
             "by_a": right, "by_b": right if at % 3 else "", "by_c": third}
        )  # fmt: skip
    return found


@pytest.fixture
def data(folder: Path) -> str:
    return written(folder / "data.csv", rows())


@pytest.fixture
def simulate(nextlabel: Run) -> Run:
    """Run it on the reviews with the encoder that needs no model."""

    def run(data: str, *arguments: str, strategies: str = "margin", label: str | None = "stars") -> Any:
        answers = ["--label", label] if label else []
        return nextlabel("simulate", data, "--text", "review", *answers, "--strategies", strategies, *QUICK, *arguments)

    return run


@pytest.fixture
def figures(simulate: Run) -> Run:
    """The JSON on the last line of stdout."""

    def run(data: str, *arguments: str, **options: Any) -> dict[str, Any]:
        done = simulate(data, *arguments, "--json", **options)
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return found

    return run


def test_the_figures_come_with_their_intervals_and_again_the_same(figures: Run, data: str, cache: Path) -> None:
    found = figures(data, strategies="margin,representative")
    assert list(found["strategies"]) == ["margin", "representative", "random"]
    for one in found["strategies"].values():
        for name in ("final", "area", "error_ratio_to_random"):
            assert one[name]["low"] <= one[name]["mean"] <= one[name]["high"]
        assert {"mean", "low", "high", "reached", "seeds"} == set(one["labels_to_target"])
    assert found["strategies"]["random"]["error_ratio_to_random"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["recommended"] in (None, "margin", "representative")
    assert found["curves"]["labels"] == [0, 6, 12]
    assert (found["n"], found["pool"], found["tested"], found["seeds"]) == (60, 45, 15, 2)
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("simulate/*/*.json")}
    assert len(kept) == 8
    again = figures(data, strategies="margin,representative")
    assert again["strategies"] == found["strategies"]
    assert kept == {path: path.stat().st_mtime_ns for path in cache.glob("simulate/*/*.json")}, "nothing is done twice"


def test_a_page_pictures_and_a_table_for_people(simulate: Run, data: str, folder: Path) -> None:
    done = simulate(data, "--out", "there", "--cost-per-label", "0.5", "--seconds-per-label", "30", "--noise", "0.1")
    assert done.code == 0, done.err
    for word in ("margin", "random", "labels to", "macro-F1"):
        assert word in done.out
    assert "recommended: none; none is shown to beat random" in done.err
    made = {path.name for path in (folder / "there").iterdir()}
    assert made == {
        "index.html", "simulation.json", "learning-curves.png", "lead.png", "gain.png", "labels-to-target.png"
    }  # fmt: skip
    page = (folder / "there" / "index.html").read_text()
    assert page.count("<svg ") == 4
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "")
    assert "<script" not in page
    for words in (
        "None is shown to beat random",
        "Cost to the target",
        "10% of the answers are flipped",
        "2 seeds give",
    ):
        assert words in page
    stored = json.loads((folder / "there" / "simulation.json").read_text())
    assert stored["cost_of_budget"] == {
        "money": {"mean": 6.0, "low": 6.0, "high": 6.0}, "hours": {"mean": 0.1, "low": 0.1, "high": 0.1}
    }  # fmt: skip


def test_names_are_shown_and_never_run(simulate: Run, folder: Path) -> None:
    made = [{**row, "stars": row["stars"].replace("pos", "<b>$x</b>")} for row in rows()]
    name = written(folder / "a<i>b.csv", made)
    assert simulate(name).code == 0
    page = (folder / "simulation" / "index.html").read_text()
    assert "a&lt;i&gt;b.csv" in page
    assert "<i>b.csv" not in page


def test_annotator_columns_by_name_and_by_pattern(figures: Run, data: str) -> None:
    found = figures(data, "--annotator-columns", "by_*", label=None)
    assert (found["answers"], found["disagreements"]) == (160, 12)
    assert found["tied"] == 4, "two annotators, of different minds"
    assert found["labels"] == ["neg", "pos"]
    fewer = figures(data, "--annotator-columns", "by_a,by_b", label=None)
    assert (fewer["answers"], fewer["disagreements"]) == (100, 0)


def test_a_row_an_annotator_is_the_same(figures: Run, data: str, folder: Path) -> None:
    rows_of = [
        {"review": row["review"], "said": row[name], "who": name}
        for row in rows()
        for name in ("by_a", "by_b", "by_c")
        if row[name]
    ]
    found = figures(written(folder / "rows.csv", rows_of), "--annotator", "who", label="said")
    expected = figures(data, "--annotator-columns", "by_*", label=None)
    assert found["strategies"].keys() == expected["strategies"].keys()
    for name in ("n", "answers", "disagreements", "tied", "runs"):
        assert found[name] == expected[name]


def test_strategies_that_ask_again_give_two_answers_to_a_record(simulate: Run, figures: Run, data: str) -> None:
    asked = ("--annotator-columns", "by_*", "--budget", "44", "--start", "32", "--start-opinions", "2")
    names = "activelab/crowdlab,random-relabel,margin"
    found = figures(data, *asked, strategies=names, label=None)
    assert list(found["strategies"]) == ["activelab/crowdlab", "random-relabel", "margin", "random"]
    records = {name: one["records"]["mean"] for name, one in found["strategies"].items()}
    assert records["margin"] == records["random"] > max(records["activelab/crowdlab"], records["random-relabel"])
    assert found["curves"]["labels"] == [32, 38, 44], "answers, whatever they are about"
    in_order = figures(data, *asked, "--answer-order", "file", strategies=names, label=None)
    assert in_order["runs"] != found["runs"]
    done = simulate(data, *asked, strategies=names, label=None)
    assert "records" in done.out
    page = Path("simulation/index.html").read_text()
    for words in ("44 answers about", "up to 2 to a record", "up to 3 in all"):
        assert words in page


def test_records_are_told_by_their_id(figures: Run, folder: Path) -> None:
    rows_of = [
        {"review": f"{row['review']}, {at}", "said": row[name], "who": name, "uid": f"r{number}"}
        for number, row in enumerate(rows())
        for at, name in enumerate(("by_a", "by_c"))
    ]
    name = written(folder / "rows.csv", rows_of)
    assert figures(name, "--annotator", "who", "--id", "uid", label="said")["n"] == 60
    rows_of[3]["who"] = ""
    name = written(folder / "nobody.csv", rows_of)
    with pytest.raises(AssertionError, match="needs who gave it"):
        figures(name, "--annotator", "who", "--id", "uid", label="said")


def test_groups_are_kept_whole_and_a_split_is_kept(figures: Run, data: str) -> None:
    assert figures(data, "--group", "user")["groups"] == 15
    found = figures(data, "--split", "part=train:test", "--metric", "accuracy", "--target", "0.9")
    assert (found["pool"], found["tested"], found["metric"]) == (45, 15, "accuracy")
    assert found["target"]["mean"] == 0.9


def test_several_labels_a_text(figures: Run, folder: Path) -> None:
    both = {"pos": ["a", "b"], "neg": []}
    lines = [json.dumps({**row, "stars": both[row["stars"]]}) for row in rows()]
    (folder / "several.jsonl").write_text("\n".join(lines))
    found = figures("several.jsonl", "--noise", "0.1")
    assert found["labels"] == ["a", "b"]
    flags = written(
        folder / "flags.csv",
        [{**row, "a": int(row["stars"] == "pos"), "b": "01"[row["stars"] == "pos"]} for row in rows()],
    )
    flagged = figures(flags, "--noise", "0.1", "--label-columns", "a,b", label=None)
    assert flagged["data_sha256"] == found["data_sha256"]


def test_long_texts_are_read_in_windows(simulate: Run, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextlabel.backend.encoders.base import EncoderSpec
    from nextlabel.backend.encoders.load import load

    asked: list[EncoderSpec] = []

    def noted(spec: EncoderSpec) -> Any:
        asked.append(spec)
        return load(spec)

    monkeypatch.setattr("nextlabel.backend.simulation.request.load", noted)
    assert simulate(data, "--max-length", "16", "--windows", "3").code == 0
    assert [(one.max_length, one.windows) for one in asked] == [(16, 3)]


def test_the_help_names_the_default_strategies() -> None:
    from nextlabel.backend.cli import simulate as command
    from nextlabel.backend.simulation.request import DEFAULT

    assert tuple(command.DEFAULT.split(",")) == DEFAULT


def test_ctrl_c_says_that_nothing_is_lost(simulate: Run, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextlabel.backend.selection.uncertainty import Margin

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Margin, "query", stopped)
    done = simulate(data)
    assert done.code == 130
    assert "the same command goes on where it was" in done.err


def test_one_seed_has_no_intervals_and_shows_nothing(figures: Run, data: str) -> None:
    found = figures(data, "--seeds", "1")
    assert found["strategies"]["margin"]["final"]["low"] is None
    assert found["recommended"] is None
    assert "one seed gives no interval" in found["why"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--text", "revew"), "there is no column 'revew', did you mean 'review'?"),
        (("--group", "usr"), "did you mean 'user'?"),
        (("--budget", "500"), "there are 45 records to choose from"),
        (("--strategies", "margn"), "did you mean margin?"),
        (("--strategies", " , "), "--strategies is empty"),
        (("--noise", "2"), "noise is 2.0"),
        (("--target", "most"), "target 'most'"),
        (("--start", "12"), "nothing is left to choose"),
        (("--split", "part"), "write COLUMN=POOL:TEST"),
        (("--split", "part=train:tset"), "no row has 'tset' in the column 'part'"),
        (("--cost-per-label", "-1"), "cost per label is -1.0"),
        (("--annotator-columns", "by_*"), "give either --label"),
        (("--strategies", "margin/crowd"), "there is no consensus 'crowd'"),
        (("--id", "user"), "--id goes with --annotator"),
        (("--opinions", "1", "--start-opinions", "2"), "the most to a record, is 1"),
        (("--rung", "few-shot"), "'hashing' has nothing to train"),
        (("--train-growth", "0"), "--train-growth is 0.0"),
        (("--separator", ";", "--annotator", "user"), "--separator means several labels"),
        (("--separator", ";", "--label-columns", "by_a"), "--label-columns has a column for each; drop one"),
        (("--label-columns", "by_a"), "give either --label"),
        (("--delimiter", ""), "--delimiter '' can't part cells"),
        (("--out", "data.csv"), "is a file; name a folder"),
    ],
)
def test_what_cannot_be_is_told_with_the_fix(simulate: Run, data: str, arguments: tuple[str, ...], says: str) -> None:
    done = simulate(data, *arguments)
    assert done.code == 1
    assert says in done.err.replace("\n", " ")
    assert not Path("simulation").exists()


def test_files_that_hold_too_little(simulate: Run, folder: Path) -> None:
    alike = written(folder / "alike.csv", [{**row, "stars": "pos"} for row in rows()])
    assert "only the label 'pos' occurs" in simulate(alike).err
    empty = written(folder / "empty.csv", [{**row, "review": " "} for row in rows()])
    assert "no row has both a text and a label" in simulate(empty).err
    nobody = [{**row, "by_a": "", "by_b": "", "by_c": ""} for row in rows()]
    done = simulate(written(folder / "nobody.csv", nobody), "--annotator-columns", "by_*", label=None)
    assert "no row has both a text and an answer" in done.err
    done = simulate(alike, "--annotator-columns", "x*", label=None)
    assert "no column fits 'x*'" in done.err
    some = written(
        folder / "some.csv", [{**row, "review": "" if at < 6 else row["review"]} for at, row in enumerate(rows())]
    )
    assert "left out: 6 rows without text" in simulate(some).err


def test_texts_that_are_cut_and_groups_that_are_joined_are_told(simulate: Run, folder: Path) -> None:
    made = rows()
    made[7]["review"] = made[30]["review"]
    data, model = written(folder / "joined.csv", made), str(tiny_bert(folder / "model"))
    told = simulate(data, "--group", "user", "--encoder", model, "--max-length", "4").err
    assert "60 of 60 texts are longer than the 4 tokens" in told
    assert "15 groups count as 14" in told
