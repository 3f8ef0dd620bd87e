"""What the command says about itself: complete, documented, quick to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextlabel.backend.cli import COMMANDS as LISTED
from nextlabel.backend.cli import main
from nextlabel.backend.cli.reference import commands, markdown

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = {name: (command, context) for name, command, context in commands()}
NAMED_BY_THE_ISSUE = (
    "run", "push", "serve", "status", "demo", "doctor", "recipes list", "recipes show", "recipes copy", "models list"
)  # fmt: skip
HEAVY = (
    "fastapi", "httpx", "numpy", "pandas", "rich", "sklearn", "sqlalchemy", "structlog", "torch",
    "transformers", "uvicorn", "yaml", "label_studio_sdk",
)  # fmt: skip


def test_every_promised_command_is_there() -> None:
    assert {f"nextlabel {name}" for name in NAMED_BY_THE_ISSUE} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    command, context = COMMANDS[name]
    text = command.get_help(context)
    assert len((command.help or "").splitlines()[0]) > 15
    if not getattr(command, "commands", None):
        assert "Examples:" in text
        assert name in text.partition("Examples:")[2]
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("group", [[], ["models"], ["recipes"]])
def test_lists_of_commands_cut_no_sentence(
    group: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main([*group, "--help"])
    listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert listed
    assert "..." not in listed


@pytest.mark.parametrize("name", LISTED)
def test_the_list_says_of_a_command_what_it_says_of_itself(name: str) -> None:
    command, _ = COMMANDS[f"nextlabel {name}"]
    assert command.get_short_help_str(limit=200) == LISTED[name][1]


def test_listing_the_commands_imports_none() -> None:
    code = "import sys\nfrom nextlabel.backend.cli import main\nmain(['--help'])\nprint('|'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules = done.stdout.splitlines()[-1].split("|")
    ours = [name for name in modules if name.startswith("nextlabel.backend.cli.")]
    assert ours == [f"nextlabel.backend.cli.{name}" for name in ("common", "ending", "terminal")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_on_the_page(name: str) -> None:
    assert f"## {name}\n" in PAGE


def test_the_page_is_not_stale() -> None:
    assert markdown() == PAGE, "run: python -m nextlabel.backend.cli.reference > docs/cli.md"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["demo", "-h"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, json\nfrom nextlabel.backend.cli import main\n"
        f"code = main({arguments!r})\nsys.stderr.write(json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    code_returned, modules = json.loads(done.stderr.splitlines()[-1])
    assert code_returned == 0
    assert "nextlabel" in done.stdout
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [("nextlabel ru", {"run"}), ("nextlabel models ", {"list", "export"}), ("nextlabel run --pro", {"--project"})],
)
def test_a_shell_completes(line: str, offered: set[str]) -> None:
    asked = {"_NEXTLABEL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = "from nextlabel.backend.cli import script; script()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, timeout=60
    )
    assert offered <= set(done.stdout.split()), done.stderr


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in "".join(capsys.readouterr())


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("nextlabel 0.")
