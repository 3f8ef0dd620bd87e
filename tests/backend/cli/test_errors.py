"""Errors end in one clean line and an exit code; tracebacks are for those who ask."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.cli import main
from nextlabel.connectors.errors import ConfigError

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "bbc-nwes"], "did you mean 'bbc-news'"),
        (["run", "none.yaml"], "none.yaml: there is no such file"),
        (["push", "reviews.yaml"], "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
        (["run", "reviews.yaml", "--port", "0"], "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
        (["run", "reviews.yaml", "--port", "99999"], "NEXTLABEL_PORT"),
        (["serve", "reviews.yaml"], "nothing was run for reviews yet"),
        (["serve", "reviews.yaml", "--model", "current"], "nothing was run for reviews yet"),
        (["serve", "--model", "./nowhere", "--port", "0"], "there is no model './nowhere'"),
        (["serve", "--model", "m", "--label", "LABEL_0", "--port", "0"], "write MODEL=OURS"),
        (["serve", "--model", "m", "--platform", "argilla"], "has none"),
        (["serve", "reviews.yaml", "--label", "a=b"], "name it with --model"),
        (["models", "list", "reviews.yaml"], "nothing was run for reviews yet"),
        (["export", "reviews.yaml"], "nothing was run for reviews yet"),
        (["doctor"], "name a recipe, or a project"),
        (["doctor", "--project", "7"], "set LABEL_STUDIO_URL"),
        (["status"], "no service was ever started in"),
        (["recipes", "show", "x"], "there is no recipe 'x'"),
        (["demo", "--platform", "prodigy"], "no demo for the platform 'prodigy'; use label-studio or argilla"),
    ],
)
def test_a_foreseen_error_is_one_line_and_exit_code_1(nextlabel: Run, arguments: list[str], says: str) -> None:
    done = nextlabel(*arguments)
    assert done.code == 1
    assert done.out == ""
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert "Traceback" not in done.err


def test_looking_makes_no_folder(nextlabel: Run, folder: Path) -> None:
    before = sorted(folder.iterdir())
    for arguments in (
        ["status"],
        ["doctor", "--project", "7"],
        ["models", "list", "reviews.yaml"],
        ["recipes", "list"],
    ):
        nextlabel(*arguments)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run"], ["serve"], ["run", "a", "b"], ["run", "a", "--prot", "1"], ["demo", "--labels", "many"]],
)
def test_a_wrong_call_is_exit_code_2(nextlabel: Run, arguments: list[str]) -> None:
    done = nextlabel(*arguments)
    assert done.code == 2
    assert "Error" in done.err


def test_the_traceback_comes_with_debug(nextlabel: Run) -> None:
    with pytest.raises(ConfigError):
        main(["--debug", "run", "none.yaml"])


def test_a_defect_says_that_it_is_one(nextlabel: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("[bold]not markup[/bold]")

    monkeypatch.setattr("nextlabel.backend.cli.recipes.names", broken)
    done = nextlabel("recipes", "list")
    assert done.code == 1
    assert "a defect in nextlabel: ZeroDivisionError: [bold]not markup[/bold]" in done.err


def test_ctrl_c_is_exit_code_130(nextlabel: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nextlabel.backend.cli.recipes.names", interrupted)
    assert nextlabel("recipes", "list").code == 130


def test_a_taken_port_is_said_before_anything_slow(nextlabel: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = nextlabel("run", "reviews.yaml", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "choose another with --port" in done.err
    assert not (folder / ".nextlabel" / "reviews").exists()


def test_a_misspelled_variable_is_mentioned(nextlabel: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTLABEL_PROT", "1")
    assert "NEXTLABEL_PROT is not a setting; did you mean NEXTLABEL_PORT?" in nextlabel("push", "reviews.yaml").err


def test_a_secret_in_an_error_is_masked(nextlabel: Run, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "geheim-geheim")
    done = nextlabel("push", "reviews.yaml")
    assert done.code == 1
    assert "geheim-geheim" not in done.out + done.err


def test_no_line_on_the_terminal_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path))
    for name in ("API_TOKEN", "ML_PASSWORD", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"NEXTLABEL_{name}", "S3cretToken")
    monkeypatch.setenv("NEXTLABEL_STORE", "postgresql://nextlabel:S3cretWord@127.0.0.1:1/none")
    monkeypatch.setenv("NEXTLABEL_PORT", "1")
    assert main(["status", "--url", "http://S3cretToken:S3cretWord@127.0.0.1:1"]) == 1
    told = capsys.readouterr()
    assert "S3cret" not in told.out + told.err
    assert "***" in told.err
    assert main(["login", "--json"]) == 0  # which is there to show them
    assert "S3cretToken" in capsys.readouterr().out
