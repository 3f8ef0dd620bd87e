"""What a worker tells its parent of how far it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.training import worker
from nextlabel.backend.training.spec import TrainingProgress
from nextlabel.backend.training.worker import ProgressFile


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_epochs_are_told_until_the_end_though_the_last_report_of_a_stage_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "REPORT_SECONDS", 1e9)
    report, file = ProgressFile(tmp_path / "progress.json"), tmp_path / "progress.json"
    first, second = {"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25}
    report(TrainingProgress("evaluating", 4, 8, history=(first,)))
    assert read(file)["history"] == [first]
    report(TrainingProgress("evaluating", 8, 8, history=(first, second)))
    assert read(file)["step"] == 4, "too soon after the one before"
    report(TrainingProgress("embedding", 10, 20))
    assert (read(file)["stage"], read(file)["history"]) == ("embedding", [first, second])
    assert TrainingProgress(**read(file)).history == [first, second]
