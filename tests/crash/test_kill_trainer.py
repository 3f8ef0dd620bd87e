"""The process that trains is killed at random moments, from its start to its last write, and always goes on.

What it leaves in the end is what an undisturbed training leaves: the order of the texts and the random numbers of
dropout are part of a checkpoint, so nothing is shown twice or left out, and the losses are the same.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.model_folder import read_folder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.backend.training.spec import TrainingProgress, TrainingSpec
from tests.backend.tiny_bert import WORDS, tiny_bert
from tests.size import SIZE

pytestmark = pytest.mark.timeout(1800)

SEED, EPOCHS, STEPS_AN_EPOCH = 7, 12, 6
EARLY = ["starting"] * 4 + ["tokenising"] * 2 + ["training"] * 7 + ["evaluating"] * 2
LATE = ["writing", "writing", "written", "embedding", "predicted"]
"""Of twenty moments the five late ones are at the end of the training, after as many steps as it takes."""
FEW = ["tokenising", "training", "evaluating", "writing"]
"""What is enough where not all is tried at full length."""
PATIENCE_S, LOOK_S = 300.0, 0.002
STARTING_S, WITHIN_S = 4.0, 0.06  # how long after a start, and after something was seen, the kill comes at most

Seen = Callable[[Path, TrainingProgress | None], bool]


def reviews(count: int, seed: int) -> Examples:
    """Texts of one to twelve words; those of the first half of the vocabulary are of one kind."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    half = len(WORDS) // 2
    texts = [" ".join(rng.choice(WORDS[:half] if t else WORDS[half:], rng.integers(1, 13))) for t in targets]
    return Examples(tuple(texts), targets.astype(np.int64), ("one", "other"))


def job(place: Path) -> TrainingJob:
    """A training with dropout and held-out texts whose every step leaves a checkpoint."""
    return TrainingJob(
        kind="fine-tune",
        encoder=EncoderSpec(str(place / "encoder"), "torch", cache_dir=place / "cache"),
        examples=reviews(16 * STEPS_AN_EPOCH, 0),
        spec=TrainingSpec(epochs=EPOCHS, patience=0, learning_rate=1e-3, head_learning_rate=1e-2, dropout=0.2),
        held_out=reviews(40, 1),
        predict=reviews(30, 2).texts,
        checkpoint_seconds=0.0,
    )


def moment(kind: str, step: int) -> Seen:
    """What must be seen before the kill of this kind; ``step`` of the training at least."""

    def seen(work: Path, told: TrainingProgress | None) -> bool:
        match kind:
            case "starting":
                return True
            case "training":
                return told is not None and told.stage == kind and told.step >= step
            case "writing":
                return (work / ".trained.partial").is_dir()
            case "written":
                return (work / "trained").is_dir()
            case "predicted":
                return (work / "predictions.safetensors").is_file()
            case _:
                return told is not None and told.stage == kind

    return seen


def kill(process: TrainingProcess, seen: Seen, delay: float) -> tuple[bool, int | None]:
    """Kill it so long after ``seen``. Whether it lived until then, and the first step of training that it told of."""
    deadline, first = time.monotonic() + PATIENCE_S, None
    while process.poll() == "running":
        assert time.monotonic() < deadline, process.progress()
        told = process.progress()
        if first is None and told is not None and told.stage == "training":
            first = told.step
        if seen(process.work, told):
            break
        time.sleep(LOOK_S)
    time.sleep(delay)
    alive = process.poll() == "running"
    if alive and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
    return alive, first


def end(process: TrainingProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() == "running":
        assert time.monotonic() < deadline, process.progress()
        time.sleep(0.05)


def reached(work: Path) -> int:
    """The step of the last checkpoint that counts; 0 without one."""
    notes = (work / "scratch").glob("checkpoint-*/nextlabel.json")
    return max((json.loads(note.read_bytes())["step"] for note in notes), default=0)


def check_whole(folder: Path) -> None:
    """Everything of a model is there and can be read."""
    assert read_folder(folder).dimension == Probe.load(folder / "head.safetensors").weights.shape[1]
    assert load_file(folder / "model.safetensors")
    assert json.loads((folder / "labels.json").read_text())["labels"] == ["one", "other"]
    assert len(json.loads((folder / "training.json").read_text())["history"]) == EPOCHS


def left(work: Path) -> Any:
    """What a finished training says of its epochs and of the texts to predict, and its weights."""
    check_whole(work / "model")
    assert not (work / "scratch").exists()
    assert not [path for path in work.iterdir() if "trained" in path.name], "something half-done is left"
    history = json.loads((work / "model" / "training.json").read_text())["history"]
    for entry in history:
        del entry["seconds"]
    return (
        history,
        load_file(work / "predictions.safetensors")["probabilities"],
        load_file(work / "model" / "model.safetensors"),
    )


def test_kills_lose_nothing_and_change_nothing(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "encoder", spread=0.1)
    undisturbed = TrainingProcess.start(tmp_path / "undisturbed", job(tmp_path))
    end(undisturbed)
    rng = random.Random(SEED)
    kinds = [*rng.sample(EARLY, len(EARLY)), *LATE] if SIZE == "all" else FEW
    process, lives = TrainingProcess.start(tmp_path / "work-0", job(tmp_path)), 0
    kills: list[tuple[Any, Any, Any]] = []
    finished = []
    while len(kills) < len(kinds):
        kind, work = kinds[len(kills)], process.work
        before = reached(work)
        delay = rng.uniform(0, STARTING_S if kind == "starting" else WITHIN_S)
        alive, first = kill(process, moment(kind, before + rng.randint(1, 5)), delay)
        assert first is None or first > before, "it began anew"
        for name in ("trained", "model"):
            if (work / name).exists():
                check_whole(work / name)
        if not alive:  # it was faster than the kill
            assert process.poll() == "done", process.error
            finished.append(work)
            lives += 1
            process = TrainingProcess.start(tmp_path / f"work-{lives}", job(tmp_path))
            continue
        assert process.killed or process.poll() == "done", process.error
        assert not process.killed or "SIGKILL" in process.error
        kills.append((kind, before, reached(work)))
        process = TrainingProcess.resume(work)
    end(process)
    assert process.poll() == "done", process.error
    history, predicted, weights = left(undisturbed.work)
    assert len(kills) == len(kinds)
    assert any(after > before for _, before, after in kills)
    for work in [*finished, process.work]:
        again, said, ended = left(work)
        assert [entry["epoch"] for entry in again] == list(range(1, EPOCHS + 1)), kills
        for one, other in zip(again, history, strict=True):
            assert one == pytest.approx(other, abs=1e-5), kills
        np.testing.assert_allclose(said, predicted, atol=1e-5, err_msg=str(kills))
        for name, tensor in weights.items():
            np.testing.assert_allclose(ended[name], tensor, atol=1e-5, err_msg=f"{name} {kills}")
