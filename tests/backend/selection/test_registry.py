"""Strategies by name, ours and those of other packages."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.selection import MarginDiverse, Pool, ScoringStrategy, get_strategy, register, strategy_names
from nextlabel.connectors.errors import ConfigError, ExhaustedPool


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


PLUGIN = """
import numpy as np

class Silent:
    pass

class LastFirst:
    name = "last-first"

    def __init__(self, skip=0):
        if skip < 0:
            raise ValueError("skip can't be negative")
        self.skip = skip

    def query(self, pool, k, rng):
        return np.roll(np.arange(len(pool))[::-1], -self.skip)[:k]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with strategies, installed from its wheel into a folder of the search path."""
    wheel, folder = tmp_path / "lastfirst-1.0-py3-none-any.whl", tmp_path / "site"
    points = "last-first = lastfirst:LastFirst\ngone = lastfirst:Gone\nsilent = lastfirst:Silent"
    files = {
        "lastfirst.py": PLUGIN,
        "lastfirst-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lastfirst\nVersion: 1.0\n",
        "lastfirst-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "lastfirst-1.0.dist-info/entry_points.txt": f"[nextlabel.strategies]\n{points}\n",
        "lastfirst-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*pip, folder, wheel], check=True, capture_output=True)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("lastfirst", None)


@pytest.mark.usefixtures("plugin")
def test_another_package_can_add_one() -> None:
    assert "last-first" in strategy_names()
    pool = Pool(np.full((5, 2), 0.5, np.float32))
    rng = np.random.default_rng(0)
    assert get_strategy("last-first").query(pool, 3, rng).tolist() == [4, 3, 2]
    assert get_strategy("last-first", skip=1).query(pool, 3, rng).tolist() == [3, 2, 1]
    mixed = get_strategy("mixture", shares={"last-first": 1}).query(pool, 2, rng)
    assert mixed.tolist() == [4, 3]
    for name, options, message in (
        ("last-firts", {}, "did you mean last-first"),
        ("last-first", {"skpi": 1}, "its options: skip"),
        ("last-first", {"skip": -1}, "skip can't be negative"),
        ("gone", {}, "gone of the package lastfirst can't be loaded: AttributeError"),
        ("silent", {}, r"silent is a Silent without a name or query\(pool, k, rng\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            get_strategy(name, **options)


PAGE = Path(__file__).parents[3] / "docs" / "selection.md"


def test_the_page_lists_every_strategy() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in strategy_names() if f"\n| `{name}`" not in page] == []


def test_the_example_of_the_page_is_a_strategy() -> None:
    example = PAGE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    exec(example, found)
    strategy, rng = found["Doubtful"](), np.random.default_rng(0)
    assert isinstance(strategy, ScoringStrategy)
    pool = Pool(np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]], np.float32))
    assert strategy.query(pool, 3, rng).tolist() == [1, 2, 0]
    with pytest.raises(ExhaustedPool):
        strategy.query(pool, 4, rng)


def test_importing_the_room_is_cheap() -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'sqlalchemy', 'pandas'}"
    source = f"import sys, nextlabel.backend.selection; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
