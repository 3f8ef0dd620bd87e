"""FineTuner: it learns, stops, goes on after an interruption, and its folder says what the network said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.learning.encoders import load_encoder
from nextlabel.backend.learning.evaluation import accuracy
from nextlabel.backend.learning.examples import Examples
from nextlabel.backend.learning.model_folder import ModelFolder, read_folder
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training import loop
from nextlabel.backend.learning.training.progress import TrainingCancelled, TrainingProgress, never, no_report
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.backend.learning.training.trainer import FineTuner, TrainingResult, split_held_out, train_model
from nextlabel.connectors.errors import LearningError

from .conftest import made_up

SPEC = TrainingSpec(epochs=3, learning_rate=3e-3, head_learning_rate=1e-2, patience=0)


def train(tiny: ModelFolder, examples: Examples, tmp_path: Path, **changes: Any) -> TrainingResult:
    held_out = made_up(40, 99, multi_label=examples.multi_label)
    options = {name: changes.pop(name) for name in ("report", "stop") if name in changes}
    tuner = FineTuner("cpu", checkpoint_seconds=changes.pop("checkpoint_seconds", 1e9))
    return tuner.train(
        tiny,
        examples,
        changes.pop("held_out", held_out),
        SPEC.model_copy(update=changes),
        tmp_path / changes.pop("name", "model"),
        scratch=tmp_path / "scratch",
        **({"report": no_report, "stop": never} | options),
    )


def predict(folder: Path, texts: tuple[str, ...]) -> Any:
    encoder = load_encoder(str(folder), "torch", cache_dir=folder.parent / "cache")
    return Probe.load(folder / "head.safetensors").predict_proba(encoder.encode(texts))


@pytest.mark.parametrize("multi_label", [False, True])
def test_it_learns_what_an_untrained_network_does_not_know(
    tiny: ModelFolder, tmp_path: Path, multi_label: bool
) -> None:
    result = train(
        tiny, made_up(160, multi_label=multi_label), tmp_path, loss="focal" if multi_label else "cross-entropy"
    )
    test = made_up(100, 7, multi_label=multi_label)
    assert accuracy(predict(result.folder, test.texts), test.targets) > (0.7 if multi_label else 0.95)
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert json.loads((result.folder / "labels.json").read_text())["multi_label"] is multi_label
