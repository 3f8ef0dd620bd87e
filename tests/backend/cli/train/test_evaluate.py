"""``nextlabel evaluate`` on files as people have them: figures, what is noticed, what is refused and why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.cli.train.conftest import written
from tests.backend.tiny_bert import tiny_bert

pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]

GOOD = ("lovely", "splendid", "delightful", "superb")
BAD = ("awful", "dreadful", "horrible", "nasty")


def rows(count: int = 60) -> list[dict[str, str]]:
    """Reviews that a bag of words can tell apart, by users of five reviews each."""
    found = []
    for at in range(count):
        word, label = ((GOOD, "pos"), (BAD, "neg"))[at % 2]
        text = f"the {word[at // 2 % 4]} meal number {at} was {word[at // 3 % 4]}"
        found.append(
            {"review": text, "stars": label, "user": f"u{at // 5}", "part": "test" if at % 5 == 0 else "train"}
        )
    return found


@pytest.fixture
def data(folder: Path) -> str:
    return written(folder / "data.csv", rows())


@pytest.fixture
def evaluate(nextlabel: Run) -> Run:
    """Run it on the reviews with the encoder that needs no model."""

    def run(data: str, *arguments: str) -> Any:
        return nextlabel("evaluate", data, "--text", "review", "--label", "stars", "--encoder", "hashing", *arguments)

    return run


@pytest.fixture
def figures(evaluate: Run) -> Callable[..., dict[str, Any]]:
    """The JSON on the last line of stdout."""

    def run(data: str, *arguments: str) -> dict[str, Any]:
        done = evaluate(data, *arguments, "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return found

    return run


def test_the_figures_come_with_their_intervals(figures: Run, data: str) -> None:
    found = figures(data)
    for name in ("accuracy", "macro_f1", "roc_auc", "average_precision"):
        assert 0 <= found[name]["low"] <= found[name]["mean"] <= found[name]["high"] <= 1
    assert found["accuracy"]["mean"] > 0.9
    assert (found["n"], found["folds"], found["seeds"], found["rung"]) == (60, 5, 1, "probe")
    assert found["labels"] == ["neg", "pos"]
    assert found["groups"] == found["copies"] == found["blank"] == 0
    assert len(found["fold_scores"]) == 5
    assert [one["support"] for one in found["classes"]] == [30, 30]


def test_where_the_ladder_chooses_every_fold_says_what_it_chose(evaluate: Run, figures: Run, data: str) -> None:
    for _ in range(2):  # made, then kept
        found = figures(data, "--rung", "auto")
        assert found["rung"] == "auto"
        chosen = [one["rung"] for one in found["fold_scores"]]
        assert len(chosen) == 5
        assert set(chosen) <= {"zero-shot", "probe"}
        assert found["chosen"] == {rung: chosen.count(rung) for rung in set(chosen)}
    assert "auto: " in evaluate(data, "--rung", "auto").out
    assert figures(data)["chosen"] == {"probe": 5}


def test_a_table_for_people(evaluate: Run, data: str) -> None:
    done = evaluate(data, "--group", "user", "--seeds", "2")
    assert done.code == 0, done.err
    for name in ("accuracy", "macro-F1", "ROC-AUC", "95% interval", "neg", "pos"):
        assert name in done.out
    assert "12 groups of 'user' kept whole" in done.err
    assert "mean of 2 seeds" in done.err


def test_the_command_itself_ends_stdout_with_one_json_object(data: str, folder: Path) -> None:
    arguments = ["evaluate", data, "--text", "review", "--label", "stars", "--encoder", "hashing", "--json"]
    code = f"import sys; from nextlabel.backend.cli import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])["macro_f1"]) == {"mean", "low", "high"}


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet", "folder"])
def test_every_kind_of_file_gives_the_same_figures(figures: Run, data: str, folder: Path, kind: str) -> None:
    import datasets

    made, path = rows(), folder / f"other.{kind}"
    if kind == "tsv":
        path.write_text("\n".join("\t".join(row) for row in [list(made[0]), *(list(row.values()) for row in made)]))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in made))
    elif kind == "parquet":
        datasets.Dataset.from_list(made).to_parquet(path)
    else:
        path = folder / "saved"
        datasets.Dataset.from_list(made).save_to_disk(path)
    expected, found = figures(data), figures(path.name)
    assert found["macro_f1"] == expected["macro_f1"]
    assert found["data_sha256"] == expected["data_sha256"]


@pytest.mark.parametrize(("column", "arguments"), [("a;b", ("--separator", ";")), (["a", "b"], ())])
def test_several_labels_a_text(figures: Run, folder: Path, column: Any, arguments: tuple[str, ...]) -> None:
    both = {"pos": column, "neg": "" if isinstance(column, str) else []}
    made = [{**row, "stars": both[row["stars"]]} for row in rows()]
    (folder / "several.jsonl").write_text("\n".join(json.dumps(row) for row in made))
    found = figures("several.jsonl", *arguments)
    assert found["multi_label"] is True
    assert found["labels"] == ["a", "b"]
    assert found["n"] == 60, "a text without any label is one"
    assert found["accuracy"]["mean"] > 0.9


def test_columns_of_flags_give_the_figures_of_lists(nextlabel: Run, figures: Run, folder: Path) -> None:
    made = [{**row, "stars": ["good", "new"] if row["stars"] == "pos" else []} for row in rows()]
    (folder / "lists.jsonl").write_text("\n".join(json.dumps(row) for row in made))
    written(folder / "flags.csv", [{**row, "good": int(bool(row["stars"])), "new": row["stars"] != []} for row in made])
    arguments = ["evaluate", "flags.csv", "--text", "review", "--encoder", "hashing"]
    done = nextlabel(*arguments, "--label-columns", "good,new", "--json")
    assert done.code == 0, done.err
    found, expected = json.loads(done.out.splitlines()[-1]), figures("lists.jsonl")
    assert found["labels"] == ["good", "new"]
    assert (found["macro_f1"], found["data_sha256"]) == (expected["macro_f1"], expected["data_sha256"])
    assert "give either --label, the column with the labels, or --label-columns" in nextlabel(*arguments).err


def test_a_file_is_read_as_it_is_said_to_be_written(nextlabel: Run, figures: Run, data: str, folder: Path) -> None:
    lines = [f"{row['stars']}\t{row['review']}, caf\xe9" for row in rows()]
    (folder / "old.txt").write_bytes("\n".join(lines).encode("cp1252"))
    arguments = ["--no-header", "--delimiter", "tab", "--encoding", "cp1252", "--json"]
    columns = ["--text", "column 2", "--label", "column 1", "--encoder", "hashing"]
    done = nextlabel("evaluate", "old.txt", *columns, *arguments)
    assert done.code == 0, done.err
    made = written(folder / "new.csv", [{**row, "review": f"{row['review']}, caf\xe9"} for row in rows()])
    assert json.loads(done.out.splitlines()[-1])["data_sha256"] == figures(made)["data_sha256"]


def test_copies_share_a_fold_unless_the_inflated_figure_is_asked_for(evaluate: Run, figures: Run, folder: Path) -> None:
    # Answers are tossed: whoever is right about a text must have read its copy.
    import random

    toss = random.Random(0)
    made = [{"review": f"word{at} thing{at}", "stars": toss.choice(["pos", "neg"])} for at in range(60)]
    name = written(folder / "copies.csv", made * 2)
    honest, leaking = figures(name), figures(name, "--random-folds")
    assert honest["copies"] == 60
    assert honest["accuracy"]["mean"] < 0.65
    assert leaking["accuracy"]["mean"] > 0.75
    assert "60 rows repeat the text of another; copies share a fold" in evaluate(name).err
    assert "flatters" in evaluate(name, "--random-folds").err


def test_groups_are_kept_whole_and_copies_across_them_are_told(evaluate: Run, figures: Run, folder: Path) -> None:
    made = rows()
    made[7]["review"] = made[30]["review"]
    made[7]["stars"] = made[30]["stars"]
    name = written(folder / "groups.csv", made)
    assert figures(name, "--group", "user")["groups"] == 12
    told = evaluate(name, "--group", "user").err
    assert "12 groups count as 11" in told
    assert "the largest holds 17% of the texts" in told


def test_what_is_left_out_is_counted(evaluate: Run, figures: Run, folder: Path) -> None:
    made = rows()
    made[0]["review"] = made[1]["review"] = " "
    made[2]["stars"] = ""
    name = written(folder / "gaps.csv", made)
    found = figures(name)
    assert (found["n"], found["blank"], found["unlabelled"]) == (57, 2, 1)
    assert "left out: 2 rows without text and 1 rows without label" in evaluate(name).err


def test_texts_that_are_cut_are_told(nextlabel: Run, figures: Run, folder: Path, data: str) -> None:
    model = str(tiny_bert(folder / "model"))
    fast = ("--no-learning-curve", "--encoder", model)
    assert "60 of 60 texts are longer than the 4 tokens" in " ".join(
        figures(data, *fast, "--max-length", "4")["remarks"]
    )
    for roomy in (("--max-length", "60"), ("--max-length", "4", "--windows", "60")):
        assert not any("cut off" in remark for remark in figures(data, *fast, *roomy)["remarks"])


def test_lists_of_labels_are_tested_on_single_ones(figures: Run, folder: Path) -> None:
    single, lists = (
        rows(),
        [{**one, "stars": [one["stars"]] + ["late"] * (at % 3 == 0)} for at, one in enumerate(rows())],
    )
    one = written(folder / "single.csv", single)
    (folder / "lists.jsonl").write_text("\n".join(map(json.dumps, lists)))
    for data, test in ((one, "lists.jsonl"), ("lists.jsonl", one)):
        found = figures(data, "--test", test, "--no-learning-curve")
        assert (found["multi_label"], found["labels"]) == (True, ["late", "neg", "pos"])


def test_there_are_no_more_folds_than_rows(evaluate: Run, data: str) -> None:
    done = evaluate(data, "--folds", "100", "--no-learning-curve")
    assert "60 folds, stratified" in done.err


def test_figures_are_shown_though_the_page_can_not_be_written(evaluate: Run, data: str, folder: Path) -> None:
    (folder / "taken.html").mkdir()
    done = evaluate(data, "--no-learning-curve", "--report", "taken.html", "--json")
    assert done.code == 1
    assert "--report 'taken.html' can't be written: Is a directory" in done.err
    assert json.loads(done.out.splitlines()[-1])["n"] == 60


def test_none_as_a_label_has_to_be_said(figures: Run, folder: Path) -> None:
    made = rows()
    for at in range(0, 60, 3):
        made[at]["stars"] = "None"
    name = written(folder / "none.csv", made)
    found = figures(name, "--no-learning-curve")
    assert (found["labels"], found["unlabelled"]) == (["neg", "pos"], 20)
    assert "labels taken for missing: 'None' (20); if they are labels, say --missing-is-label" in found["remarks"]
    assert figures(name, "--no-learning-curve", "--missing-is-label")["labels"] == ["None", "neg", "pos"]


def test_contradictions_and_rare_labels_are_told_and_it_goes_on(evaluate: Run, folder: Path) -> None:
    made = rows()
    made[0]["stars"] = "odd"
    made.append({**made[2], "stars": "neg"})
    done = evaluate(written(folder / "rare.csv", made))
    assert done.code == 0, done.err
    assert "fewer rows than the 5 folds: 'odd' (1)" in done.err
    assert "1 texts are there with different labels" in done.err


def test_a_fixed_split_and_a_file_to_test_on_are_the_same(evaluate: Run, figures: Run, folder: Path, data: str) -> None:
    made = rows()
    train = written(folder / "train.csv", [row for row in made if row["part"] == "train"])
    test = written(folder / "test.csv", [row for row in made if row["part"] == "test"])
    one, other = figures(data, "--split", "part=train:test"), figures(train, "--test", test)
    assert one["macro_f1"] == other["macro_f1"]
    assert (one["n"], one["folds"]) == (12, 1)
    said = evaluate(data, "--split", "part=train:test", "--group", "user").err
    assert "100% of the texts to test on are of a group that is also learned from" in said


def test_folds_of_some_rows(figures: Run, folder: Path, data: str) -> None:
    test = written(folder / "test.csv", [row for row in rows() if row["part"] == "test"])
    some, alone = figures(data, "--only", "part=test"), figures(test)
    assert some["n"] == alone["n"] == 12
    assert some["macro_f1"] == alone["macro_f1"]
    assert figures(data, "--only", "part=test:train")["n"] == 60


def test_what_is_not_defined_is_null_and_a_dash(figures: Run, evaluate: Run, data: str, folder: Path) -> None:
    test = written(folder / "one.csv", [row for row in rows() if row["stars"] == "pos"])
    assert figures(data, "--test", test)["roc_auc"] == {"mean": None, "low": None, "high": None}
    assert "not defined here" in evaluate(data, "--test", test).out


def test_texts_and_labels_on_the_wrong_side_of_a_split_are_told(evaluate: Run, folder: Path) -> None:
    made = rows()
    made[0]["review"], made[5]["stars"] = made[1]["review"], "never seen"
    said = evaluate(written(folder / "split.csv", made), "--split", "part=train:test").err
    assert "1 of the 12 texts to test on are also learned from" in said
    assert "only tested, never learned: 'never seen'" in said


def test_a_second_run_takes_the_folds_of_the_first(figures: Run, data: str, cache: Path) -> None:
    first = figures(data, "--no-learning-curve")
    kept = {path: path.stat().st_mtime_ns for path in (cache / "evaluate" / "folds").iterdir()}
    assert len(kept) == 5
    assert figures(data, "--no-learning-curve")["macro_f1"] == first["macro_f1"]
    assert {path: path.stat().st_mtime_ns for path in (cache / "evaluate" / "folds").iterdir()} == kept
    other = figures(data, "--seeds", "2", "--no-learning-curve")
    assert len(list((cache / "evaluate" / "folds").iterdir())) == 10
    assert other["macro_f1"] != first["macro_f1"] or other["seeds"] == 2
    assert figures(data, "--fresh")["macro_f1"] == first["macro_f1"]


def test_the_probe_comes_with_a_learning_curve(evaluate: Run, figures: Run, data: str, cache: Path) -> None:
    found = figures(data)
    points = found["learning_curve"]["points"]
    assert [(one["share"], one["labels"]) for one in points] == [(0.5, 24), (1.0, 48)]
    assert points[-1]["macro_f1"] == found["macro_f1"]
    assert set(found["learning_curve"]["last_gain"]) == {"mean", "low", "high"}
    assert found["learning_curve"]["more_labels_help"] in (True, None)
    assert len(list((cache / "evaluate" / "folds").iterdir())) == 10, "half of the labels, and all, of each fold"
    assert figures(data, "--no-learning-curve")["learning_curve"] is None
    table = evaluate(data).out
    assert table.index("learning curve") < table.index("by label")


def test_a_learning_curve_of_a_fixed_split_and_of_several_seeds(figures: Run, data: str) -> None:
    fixed = figures(data, "--split", "part=train:test")
    assert [one["labels"] for one in fixed["learning_curve"]["points"]] == [24, 48]
    several = figures(data, "--seeds", "2")
    assert several["learning_curve"]["points"][-1]["macro_f1"] == several["macro_f1"]


def test_too_few_texts_for_a_learning_curve_are_told(evaluate: Run, figures: Run, folder: Path) -> None:
    name = written(folder / "few.csv", rows(24))
    assert figures(name)["learning_curve"] is None
    assert "no learning curve: half of the texts" in evaluate(name).err
    assert "no learning curve" not in evaluate(name, "--no-learning-curve").err


def test_more_labels_are_said_to_help_where_they_did(evaluate: Run, folder: Path) -> None:
    # Every word stands in four texts: who has read half of them knows half of the words.
    made = [{"review": f"word{at % 100}", "stars": "pos" if at % 100 % 7 < 3 else "neg"} for at in range(400)]
    for at, row in enumerate(made):
        row["review"] += f" number{at}"
    done = evaluate(written(folder / "words.csv", made), "--report", "out.html")
    assert "more labels are likely to help" in done.err
    html = (folder / "out.html").read_text(encoding="utf-8")
    assert "Learning curve" in html
    assert html.count("more labels are likely to help") == 1


def test_the_report_is_one_page(evaluate: Run, data: str, folder: Path) -> None:
    done = evaluate(data, "--report", "out.html", "--group", "user")
    assert done.code == 0, done.err
    html = (folder / "out.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    for said in ("data.csv", "12 groups of &#39;user&#39; kept whole", "sha256", "nextlabel 0."):
        assert said in html
    assert "report: out.html" in done.err


def test_pictures_are_written_to_a_folder(evaluate: Run, data: str, folder: Path) -> None:
    done = evaluate(data, "--pictures", "shown")
    assert done.code == 0, done.err
    names = {"confusion", "precision-recall", "roc", "calibration", "learning-curve", "folds"}
    assert {path.name for path in (folder / "shown").iterdir()} == {f"{name}.png" for name in names}
    assert "shown/learning-curve.png" in done.err


@pytest.mark.parametrize("rung", ["fine-tune", "auto"])
def test_rungs_that_train_the_encoder_are_evaluated_by_the_same_command(
    nextlabel: Run, folder: Path, rung: str
) -> None:
    tiny = tiny_bert(folder / "tiny", spread=0.02)
    made = [{"review": f"word{at % 2} word{at + 2}", "stars": f"s{at % 2}"} for at in range(24)]
    arguments = ["--text", "review", "--label", "stars", "--encoder", str(tiny), "--engine", "torch", "--folds", "2"]
    done = nextlabel("evaluate", written(folder / "words.csv", made), *arguments, "--rung", rung, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert (found["rung"], found["n"], found["folds"]) == (rung, 24, 2)
    assert found["learning_curve"] is None, "costs too much to be made unasked"
    assert 0 <= found["roc_auc"]["mean"] <= 1


def test_what_is_past_the_first_window_is_read_in_further_ones(nextlabel: Run, folder: Path) -> None:
    tiny = tiny_bert(folder / "tiny")
    same = " ".join(f"word{number}" for number in range(50, 58))
    made = [{"review": f"{same} {f'word{at % 2} ' * 4} word{60 + at}", "stars": at % 2} for at in range(60)]
    data = written(folder / "long.csv", made)
    arguments = ["--text", "review", "--label", "stars", "--encoder", str(tiny), "--engine", "torch"]
    found = {}
    for windows in ("1", "3"):
        size = ["--max-length", "8", "--windows", windows]
        done = nextlabel("evaluate", data, *arguments, *size, "--report", f"{windows}.html", "--json")
        assert done.code == 0, done.err
        found[windows] = json.loads(done.out.splitlines()[-1])["accuracy"]["mean"]
    assert found["3"] > 0.9 > 0.7 > found["1"]
    assert "8 tokens a window, 3 windows" in (folder / "3.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--label", "star"], "no column 'star', did you mean 'stars'?"),
        (["--text", "nothing"], "no column 'nothing'; columns found: 'review', 'stars', 'user', 'part'"),
        (["--group", "usr"], "did you mean 'user'"),
        (["--split", "part=train"], "write COLUMN=TRAIN:TEST"),
        (["--split", "part=train:train"], "tests on what was learned"),
        (["--split", "part=train:tset"], "no row has 'tset' in the column 'part'; found: 'test', 'train'"),
        (["--split", "part=train:test", "--test", "data.csv"], "give one of them"),
        (["--only", "part"], "write COLUMN=VALUE"),
        (["--only", "part=train:none"], "no row has 'none'"),
        (["--test", "none.csv"], "none.csv: there is no such file"),
        (["--separator", ""], "--separator is empty"),
        (["--label-columns", "a,b"], "give either --label"),
        (["--delimiter", "::"], "--delimiter '::' can't part cells"),
        (["--encoding", "utf9"], "--encoding 'utf9' is no encoding"),
        (["--report", "out.pdf"], "must end in .html"),
        (["--report", "no/such/out.html"], "there is no folder"),
        (["--pictures", "data.csv"], "is a file; name a folder"),
        (["--rung", "zero-shot", "--learning-curve"], "zero-shot learns from no label"),
        (["--encoder", "no-such-model"], "no-such-model"),
        (["--rung", "fine-tune"], "nothing to train"),
    ],
)
def test_a_wrong_call_is_one_clear_line(evaluate: Run, data: str, arguments: list[str], says: str) -> None:
    done = evaluate(data, *arguments)
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert done.out == ""


def test_data_that_says_nothing_is_refused(evaluate: Run, folder: Path) -> None:
    same = written(folder / "same.csv", [{**row, "stars": "pos"} for row in rows()])
    assert "only the label 'pos' occurs" in evaluate(same).err
    blank = written(folder / "blank.csv", [{**row, "review": ""} for row in rows()])
    assert "no row has both a text and a label (60 rows without text, 0 without label)" in evaluate(blank).err
    single = written(folder / "single.csv", [{**row, "user": "one"} for row in rows()])
    assert "all rows are of one group" in evaluate(single, "--group", "user").err


def test_average_precision_names_its_label(evaluate: Run, figures: Run, folder: Path) -> None:
    made = [one | {"stars": "abuse" if at % 6 == 0 else "fine"} for at, one in enumerate(rows())]
    data = written(folder / "rare.csv", made)
    found = figures(data, "--no-learning-curve")
    own = {one["label"]: one["average_precision"] for one in found["classes"]}
    assert found["positive"] == "abuse", "the rarer"
    assert found["average_precision"]["mean"] == pytest.approx(own["abuse"])
    other = figures(data, "--no-learning-curve", "--positive", "fine")
    assert (other["positive"], other["average_precision"]["mean"]) == ("fine", pytest.approx(own["fine"]))
    shown = evaluate(data, "--no-learning-curve", "--report", "page.html")
    assert "average precision of abuse" in shown.out
    assert "Average precision of abuse" in (folder / "page.html").read_text()
    done = evaluate(data, "--positive", "rude")
    assert done.code == 1
    assert "there are 'abuse' and 'fine'" in done.err
    several = [one | {"stars": "abc"[at % 3]} for at, one in enumerate(rows())]
    assert "mean over 3 labels" in evaluate(written(folder / "three.csv", several), "--positive", "a").err


def test_labels_in_a_tree_have_figures_of_the_parents_too(figures: Run, evaluate: Run, folder: Path) -> None:
    made = rows(90)
    for at, row in enumerate(made):
        row["stars"] = "good" if row["stars"] == "pos" else ("bad > late" if at % 3 else "bad > rude")
    name = written(folder / "tree.csv", made)
    tree = figures(name, "--no-learning-curve")["tree"]
    [top] = tree["levels"]
    assert [one["label"] for one in top["classes"]] == ["bad", "good"]
    assert [one["support"] for one in top["classes"]] == [45, 45]
    said = tree["suggested"]
    assert said["leaf_accuracy"]["mean"] <= said["accuracy"]["mean"] <= top["accuracy"]["high"]
    shown = evaluate(name, "--no-learning-curve", "--report", "tree.html")
    assert "share that is a parent" in shown.out
    assert "Labels in a tree" in (folder / "tree.html").read_text()
    made[0]["stars"] = "bad"
    refused = evaluate(written(folder / "mixed.csv", made))
    assert refused.code == 1
    assert "'bad' is a label and also the parent of 'bad > late'" in refused.err.replace("\n", " ")
