"""Packages that announce heads, as pip leaves them in a folder of the search path."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def of_the_page() -> dict[str, str]:
    """The files of the package in the documentation, and ``recipe``, what a recipe says of it."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## A head of one's own\n")[2].partition("\n## ")[0]
    found = dict(re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))
    return {"pyproject.toml": found["toml"], "gated_head.py": found["python"], "recipe": found["yaml"]}


def pip_install(source: Path, site: Path) -> Path:
    """Install the package in the folder ``source`` into ``site``, as the page says."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True, timeout=120)
    return site


def announce(
    site: Path, points: Mapping[str, str], source: str = "", *, package: str = "made-up", version: str = "1.0"
) -> Path:
    """Put a package with the ``points`` (name -> factory) of one module of this ``source`` into ``site``."""
    module, info = package.replace("-", "_"), site / f"{package.replace('-', '_')}-{version}.dist-info"
    for old in site.glob(f"{module}-*.dist-info"):
        shutil.rmtree(old)
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = "".join(f"{name} = {module}:{factory}\n" for name, factory in points.items())
    (info / "entry_points.txt").write_text(f"[nextlabel.heads]\n{lines}")
    (site / f"{module}.py").write_text(source)
    sys.modules.pop(module, None)
    importlib.invalidate_caches()
    return site


def on_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process find what is installed in ``site``, and those that it starts."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    importlib.invalidate_caches()
