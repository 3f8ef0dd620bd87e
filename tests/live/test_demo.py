"""``nextlabel demo``, as a newcomer runs it, with fewer labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.size import both_in_long

pytestmark = pytest.mark.timeout(900)

KEYS = (
    "platform labels accuracy random_accuracy audit_accuracy audit_interval latency_p50_s latency_p95_s "
    "events_lost events_doubled seconds_total seconds_own"
)


@pytest.mark.parametrize("platform", both_in_long("label-studio", "argilla"))
def test_the_demo_prints_its_figures_as_json(platform: str, tmp_path: Path) -> None:
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
        [*command, "--output", str(tmp_path)], env=os.environ, capture_output=True, text=True, check=False, timeout=850
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
    assert json.loads((tmp_path / "demo.json").read_text()) == figures
    assert (tmp_path / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
