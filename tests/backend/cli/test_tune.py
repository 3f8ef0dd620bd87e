"""``nextlabel tune`` with the encoder that needs no model: what it prints and writes, what it refuses and why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.recipe.recipe import Recipe

Run = Callable[..., Any]
WORDS = ("lovely", "splendid", "awful", "dreadful")
SHORT = ("--trials", "3", "--outer", "2", "--inner", "2", "--encoder", "hashing")


@pytest.fixture(autouse=True)
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NEXTLABEL_CACHE", str(folder / "cache"))
    rows = [f"the {WORDS[at % 4]} meal number {at},{'pos' if at % 4 < 2 else 'neg'},u{at // 4}" for at in range(48)]
    (folder / "data.csv").write_text("\n".join(["review,stars,user", *rows]))
    return "data.csv"


def arguments(*more: str) -> list[str]:
    return ["tune", "data.csv", "--text", "review", "--label", "stars", *SHORT, *more]


def test_the_last_line_is_one_json_object(nextlabel: Run) -> None:
    done = nextlabel(*arguments("--group", "user", "--json"))
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert set(found["tuned"]["macro_f1"]) == set(found["difference"]) == {"mean", "low", "high"}
    assert (found["n"], found["groups"], len(found["outer_folds"]), len(found["trials"])) == (48, 12, 2, 3)
    assert found["trials"][0]["settings"] == found["defaults"]["settings"]
    assert found["better"] is (found["difference"]["low"] > 0)
    assert found["verdict"] in done.err
    assert found["recipe"]["training"] == {"rung": "probe"}
    assert Path(found["study"]).is_file()


def test_people_see_tables_and_recipe_keys_which_can_be_written(nextlabel: Run, folder: Path) -> None:
    import yaml

    done = nextlabel(*arguments("--strength", "5:50", "--write", "found.yaml"))
    assert done.code == 0, done.err
    for said in ("found by the search", "defaults", "95% interval", "outer fold", "strength", "encoder: hashing"):
        assert said in done.out
    text = (folder / "found.yaml").read_text()
    assert "than the defaults" in text.splitlines()[0]
    keys = yaml.safe_load(text)
    assert Recipe(name="x", labels=("a", "b"), **keys).encoder == "hashing"
    again = nextlabel(*arguments("--write", "found.yaml"))
    assert (again.code, again.out) == (1, "")
    assert "--write 'found.yaml' is there already" in again.err


def test_without_enough_time_it_says_how_to_go_on(nextlabel: Run) -> None:
    done = nextlabel(*arguments("--budget", "0.01", "--trials", "500", "--json"))
    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[-1])["whole"] is False
    assert "run the same command again to go on" in done.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--label-columns", "a,b"], "give either --label"),
        (["--strength", "3"], "nothing to search"),
        (["--strength", "high"], "--strength 'high' can't be read"),
        (["--epochs", "2:8"], "--epochs is for fine-tune"),
        (["--rung", "fine-tune"], "nothing to train"),
        (["--group", "usr"], "did you mean 'user'"),
        (["--only", "user"], "write COLUMN=VALUE"),
        (["--encoder", "no-such-model"], "no-such-model"),
    ],
)
def test_a_wrong_call_is_one_clear_line(nextlabel: Run, more: list[str], says: str) -> None:
    done = nextlabel(*arguments(*more))
    assert (done.code, done.out) == (1, "")
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert says in line


def test_without_optuna_the_extra_is_named(nextlabel: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.encoders.base.installed", lambda name: name != "optuna")
    done = nextlabel(*arguments())
    assert done.code == 1
    assert "nextlabel[tune]" in done.err


def test_two_processes_at_once_share_the_work_and_agree(folder: Path) -> None:
    asked = arguments("--json", "--trials", "6")
    code = f"import sys; from nextlabel.backend.cli import main; sys.exit(main({asked!r}))"

    def one(_: int) -> dict[str, Any]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=folder)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    for found in (first, second):
        assert all(6 <= fold["trials"] <= 7 for fold in found["outer_folds"]), "no more than one trial too many"
    for name in ("tuned", "defaults", "difference", "settings", "recipe", "study"):
        assert first[name] == second[name]
    assert [one["settings"] for one in first["outer_folds"]] == [one["settings"] for one in second["outer_folds"]]
