"""Strategies by name, ours and those of other packages."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from nextlabel.backend.selection import MarginDiverse, get_strategy, register, strategy_names
from nextlabel.connectors.errors import ConfigError


def test_options_reach_the_strategy() -> None:
    assert get_strategy("margin-diverse", top=3, scorer="entropy") == MarginDiverse(scorer="entropy", top=3)
    assert get_strategy("mixture", shares={"margin": 0.5, "random": 0.5}).name == "mixture"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("margni", {}, "did you mean margin?"),
        ("zzz", {}, "there are .*badge, .*entropy"),
        ("margin", {"top": 3}, "its options: none"),
        ("k-center", {"tpo": 3}, "its options: scorer, top, least"),
        ("k-center", {"top": 0}, "at least 1"),
        ("k-center", {"scorer": "random"}, "no score to build on"),
        ("k-center", {"scorer": "nonsense"}, "no strategy 'nonsense'"),
        ("k-center", {"power": -1}, "negative"),
        ("badge", {"subset": 0}, "at least 1"),
        ("mixture", {"shares": {"margin": 0}}, "above 0"),
        ("mixture", {"shares": {"nonsense": 1}}, "no strategy 'nonsense'"),
    ],
)
def test_a_mistake_is_answered_with_the_fix(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        get_strategy(name, **options)


def test_a_name_is_given_once() -> None:
    with pytest.raises(ConfigError, match="two strategies are called margin"):
        register("margin")(MarginDiverse)


def test_another_package_can_add_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nextlabel.strategies]\nlast-first = plugin_strategy:LastFirst\n")
    (tmp_path / "plugin_strategy.py").write_text(
        "import numpy as np\n"
        "class LastFirst:\n"
        "    name = 'last-first'\n"
        "    def query(self, pool, k, rng):\n"
        "        return np.arange(len(pool))[::-1][:k]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert "last-first" in strategy_names()
    assert get_strategy("last-first").name == "last-first"


def test_importing_the_room_is_cheap() -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'sqlalchemy', 'pandas'}"
    source = f"import sys, nextlabel.backend.selection; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
