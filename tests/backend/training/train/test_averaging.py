"""Members: their mean is the model, each leaves out another part, and a kill costs only the one that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.evaluation import accuracy
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training.finetune import DONE, FineTuner
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec, never, no_report
from nextlabel.backend.training.trainer import TrainingResult, split_held_out
from nextlabel.connectors.content import Readable
from tests.backend.device import DEVICE
from tests.backend.training.conftest import made_up

SPEC = TrainingSpec(epochs=2, learning_rate=3e-3, head_learning_rate=1e-2, members=3)


def train(tiny: ModelFolder, examples: Examples, folder: Path, spec: TrainingSpec = SPEC, **how: Any) -> TrainingResult:
    scratch = how.pop("scratch", folder.with_name(f"{folder.name}-scratch"))
    how = {"report": no_report, "stop": never} | how
    return FineTuner(DEVICE).train(tiny, examples, None, spec, folder, scratch=scratch, **how)


def probabilities(folder: Path, texts: tuple[Readable, ...]) -> Any:
    encoder = load_encoder(str(folder), "torch", cache_dir=folder.parent / "cache")
    return Probe.load(folder / "head.safetensors").predict_proba(encoder.encode(texts))


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_mean_of_the_members_is_a_model_that_has_learned(
    tiny: ModelFolder, tmp_path: Path, multi_label: bool
) -> None:
    result = train(tiny, made_up(160, multi_label=multi_label), tmp_path / "model")
    test = made_up(100, 7, multi_label=multi_label)
    assert accuracy(probabilities(result.folder, test.texts), test.targets) > (0.7 if multi_label else 0.95)
    assert {entry["member"] for entry in result.history} == {0, 1, 2}
    assert all("log_loss" in entry for entry in result.history)  # each on what it left out
    assert result.temperature != 1.0


def test_the_weights_are_the_mean_of_those_that_the_members_have_left(tiny: ModelFolder, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    result = train(tiny, made_up(60), tmp_path / "model")
    members = [load_file(tmp_path / "model-scratch" / f"member-{at}" / DONE) for at in range(3)]
    name = "encoder.layer.0.attention.self.query.weight"
    parts = [member[f"state.body.{name}"] for member in members]
    assert not np.allclose(parts[0], parts[1])
    np.testing.assert_allclose(load_file(result.folder / "model.safetensors")[name], np.mean(parts, axis=0), atol=1e-6)
    assert sum(len(member["logits"]) for member in members) == 60  # every text is left out once


def test_who_was_killed_goes_on_with_the_member_it_was_at(tiny: ModelFolder, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    whole = train(tiny, made_up(60), tmp_path / "whole", report=seen.append)
    last = [one.step for one in seen if one.stage == "training"]
    assert last == sorted(last)
    assert {one.steps for one in seen if one.stage == "training"} == {max(last)}

    scratch, third = tmp_path / "scratch", tmp_path / "scratch" / "member-2"
    with pytest.raises(TrainingCancelled):
        train(tiny, made_up(60), tmp_path / "model", scratch=scratch, stop=third.exists)
    again: list[TrainingProgress] = []
    result = train(tiny, made_up(60), tmp_path / "model", scratch=scratch, report=again.append)
    assert min(one.step for one in again if one.stage == "training") > max(last) / 2
    texts = made_up(20, 7).texts
    np.testing.assert_allclose(probabilities(result.folder, texts), probabilities(whole.folder, texts), atol=1e-5)
    assert result.seconds > 0


def test_a_member_of_another_training_is_not_taken(tiny: ModelFolder, tmp_path: Path) -> None:
    train(tiny, made_up(60), tmp_path / "model", scratch=tmp_path / "scratch")
    seen: list[TrainingProgress] = []
    train(tiny, made_up(60, 5), tmp_path / "other", scratch=tmp_path / "scratch", report=seen.append)
    assert min(one.step for one in seen if one.stage == "training") <= 2
    (tmp_path / "scratch" / "member-0" / DONE).write_bytes(b"torn")
    train(tiny, made_up(60, 5), tmp_path / "third", scratch=tmp_path / "scratch")


def test_members_hold_out_parts_of_their_own(tiny: ModelFolder, tmp_path: Path) -> None:
    examples = made_up(60)
    assert split_held_out(examples, SPEC) == (examples, None)
    few = train(tiny, made_up(12), tmp_path / "few")  # too few to leave any out
    assert all("member" not in entry for entry in few.history)


def test_progress_tells_the_epochs_of_the_members_so_far(tiny: ModelFolder, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    result = train(tiny, made_up(40), tmp_path / "model", report=told.append)
    assert list(told[-1].history) == result.history
    first = [one for one in told if one.steps and one.step < one.steps // 3]
    assert all(entry["member"] == 0 for one in first for entry in one.history)
    assert {entry["member"] for entry in told[-1].history} == {0, 1, 2}
