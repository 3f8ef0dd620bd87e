"""Environments that have what a wheel asks for, and nothing else.

What they hold is linked from the environment of the tests: no package index is asked, and a release of yesterday
changes nothing.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
import venv
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("connectors", "backend", "recipes")
FILES = ("pyproject.toml", "README.md", "LICENSE")


def requirements(*extras: str) -> list[str]:
    """What the project needs with these ``extras``."""
    project = PROJECT["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


def closure(needed: Iterable[str], seen: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """Every installed distribution that is ``needed``, directly or not, by its normalised name; extras of ours not."""
    seen = {} if seen is None else seen
    for text in needed:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        wanted = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        if name in seen or (requirement.marker and not any(requirement.marker.evaluate(env) for env in wanted)):
            continue
        seen[name] = distribution(requirement.name)
        plain = [
            one
            for one in seen[name].requires or []
            if (marker := Requirement(one).marker) is None or any(marker.evaluate(env) for env in wanted)
        ]
        closure([str(Requirement(one)).partition(";")[0] for one in plain], seen)
    return seen


def copy_source(folder: Path) -> Path:
    """The sources in a new ``folder``, so that nothing stale in the working tree gets into what is built there."""
    folder.mkdir()
    for name in (*FOLDERS, *FILES):
        subprocess.run(["cp", "-r", str(ROOT / name), str(folder / name)], check=True)
    return folder


def bare_environment(folder: Path, held: Mapping[str, Distribution], *, with_pip: bool = False) -> Path:
    """The bin folder of a new environment in ``folder`` that holds these distributions."""
    venv.create(folder, with_pip=False)
    (site,) = (folder / "lib").glob("python*/site-packages")
    for found in held.values():
        for top in {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    if with_pip:  # now: the setuptools that it would bring along is an old one
        subprocess.run([folder / "bin" / "python", "-m", "ensurepip", "--default-pip"], check=True, capture_output=True)
    return folder / "bin"
