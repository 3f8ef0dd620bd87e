"""Texts longer than the encoder's window: training reads as much of them as the encoder will read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.evaluation import accuracy
from nextlabel.backend.evaluation.ladder import make_rung
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import head_of, save_encoder, save_head
from nextlabel.backend.training import classifier
from nextlabel.backend.training.classifier import AnsweredTexts, ClassifierTask, example_losses, text_classifier
from nextlabel.backend.training.fewshot import FewShotTuner
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.spec import PoolingName, TrainingSpec, Watch, never, no_report
from nextlabel.backend.training.texts import parts, portions, tokenised
from nextlabel.backend.training.trainer import TextTrainer
from nextlabel.backend.training.worker import run
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from tests.backend.device import DEVICE
from tests.backend.training.conftest import LETTERS, made_up

SPEC = TrainingSpec(epochs=5, learning_rate=3e-3, head_learning_rate=1e-2, patience=0)
LENGTH, CONTENT = 10, 8  # tokens of a window, with and without [CLS] and [SEP]
WATCH = Watch(no_report, never)


def late_answers(count: int, seed: int = 0) -> Examples:
    """Texts whose first window is filled with letters that say nothing, and whose label stands in the second."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    texts = []
    for target in targets:
        filling = ["".join(rng.choice(list(LETTERS), 2)) for _ in range(CONTENT // 2)]
        telling = ["".join(rng.choice(list(LETTERS[13:] if target else LETTERS[:13]), 2)) for _ in range(3)]
        texts.append(" ".join(filling + telling))
    return Examples(tuple(texts), targets.astype(np.int64), ("early", "late"))


def mixed(count: int, seed: int = 0) -> Examples:
    """Texts of one to three windows."""
    short, long = made_up(count, seed), late_answers(count, seed)
    both = [f"{one} {other}" for one, other in zip(short.texts, long.texts, strict=True)]
    texts = [(short.texts, long.texts, both)[row % 3][row] for row in range(count)]
    return replace(short, texts=tuple(texts))


def base(tiny: ModelFolder, windows: int) -> ModelFolder:
    return replace(tiny, max_length=LENGTH, windows=windows)


def predict(folder: Path, texts: tuple[Readable, ...], windows: int) -> Any:
    encoder = load_encoder(str(folder), "torch", cache_dir=folder.parent / "cache", windows=windows)
    return Probe.load(folder / "head.safetensors").predict_proba(encoder.encode(texts))


@pytest.mark.parametrize("tuner", [FineTuner(DEVICE), FewShotTuner(DEVICE)])
def test_a_label_that_stands_in_the_second_window_is_learned_with_two(
    tiny: ModelFolder, tmp_path: Path, tuner: TextTrainer[Any]
) -> None:
    train, test = late_answers(160), late_answers(100, 1)
    reached = {}
    for windows in (1, 2):
        folder = tmp_path / str(windows) / "model"
        spec = SPEC if isinstance(tuner, FineTuner) else TrainingSpec(learning_rate=2e-3)
        scratch = tmp_path / "scratch"
        tuner.train(base(tiny, windows), train, None, spec, folder, scratch=scratch, report=no_report, stop=never)
        reached[windows] = accuracy(predict(folder, test.texts, windows), test.targets)
        told = json.loads((folder / "training.json").read_text())
        assert (told["max_length"], told["windows"]) == (LENGTH, windows)
    assert reached[2] > 0.9
    assert reached[1] < 0.7


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "attention", "bilstm"])
def test_the_folder_says_what_the_network_says_of_long_texts(
    tiny: ModelFolder, tmp_path: Path, pooling: PoolingName
) -> None:
    import torch

    examples, windowed = mixed(30), base(tiny, 4)
    spec = SPEC.model_copy(update={"pooling": pooling})
    torch.manual_seed(1)
    network = text_classifier(windowed, spec, 2)
    with torch.no_grad():
        for parameter in [*network.pooler.parameters(), *network.head.parameters()]:
            parameter.normal_(std=0.3)
    network.eval()
    cut = tokenised(windowed, examples.texts, WATCH)
    assert set(cut.counts()) == {1, 2, 3, 4}
    inputs = cut.batch(range(30))
    with torch.no_grad():
        logits = network(**inputs, texts=30).numpy()
    folder = tmp_path / "model"
    save_encoder(folder, network, windowed)
    save_head(folder, head_of(network, activation=SOFTMAX, temperature=1.0, labels=30), examples.labels, {})
    expected = SOFTMAX.probabilities(logits)
    np.testing.assert_allclose(predict(folder, examples.texts, 4), expected, atol=1e-5)
    assert np.abs(predict(folder, examples.texts, 1) - expected).max() > 1e-3


def test_what_was_measured_in_training_is_true_of_the_encoder(tiny: ModelFolder, tmp_path: Path) -> None:
    held = late_answers(50, 5)
    result = FineTuner(DEVICE).train(
        base(tiny, 2), late_answers(60), held, SPEC, tmp_path / "model", scratch=tmp_path / "scratch"
    )
    p = predict(result.folder, held.texts, 2)[np.arange(50), held.targets]
    best = min(entry["log_loss"] for entry in result.history)
    assert float(-np.log(p).mean()) == pytest.approx(best, abs=1e-4)


def test_portions_hold_neighbours_and_tear_no_text() -> None:
    counts = [3, 1, 1, 9, 2, 2, 4]
    assert portions(counts, 4) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6), slice(6, 7)]
    assert portions(counts, 100) == [slice(0, 7)]
    assert portions([1] * 5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def batch_of(tiny: ModelFolder, examples: Examples) -> tuple[ClassifierTask, dict[str, Any]]:
    import torch

    windowed = base(tiny, 4)
    torch.manual_seed(2)
    network = text_classifier(windowed, SPEC, 2).eval()
    weights = np.linspace(0.5, 1.5, len(examples)).astype(np.float32)
    train = AnsweredTexts(tokenised(windowed, examples.texts, WATCH), examples.targets, weights)
    task = ClassifierTask(network, train, None, SPEC, DEVICE, WATCH)
    return task, task.collate(list(range(len(examples)))[::-1])


def test_parts_of_a_batch_are_bounded_in_windows_and_add_up_to_it(tiny: ModelFolder) -> None:
    task, whole = batch_of(tiny, mixed(12))
    found = []
    for most in (1000, 4, 1):
        some = list(parts(whole, most))
        assert all(len(part["owner"]) <= most or len(part["targets"]) == 1 for part in some)
        assert sum(len(part["targets"]) for part in some) == 12
        assert sum(len(part["owner"]) for part in some) == len(whole["owner"])
        task.network.zero_grad()
        total = 0.0
        for part in some:
            loss = task.loss(part, whole)
            loss.backward()
            total += float(loss.detach())
        grads = {name: p.grad.clone() for name, p in task.network.named_parameters() if p.grad is not None}
        found.append((total, grads))
    for total, grads in found[1:]:
        assert total == pytest.approx(found[0][0], rel=1e-5)
        for name, grad in grads.items():
            np.testing.assert_allclose(grad, found[0][1][name], atol=1e-5, err_msg=name)


def test_memory_bounds_windows_and_not_texts(
    tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen texts per step have more windows than sixteen: they go in parts; four windows fit, five don't."""
    sizes: list[int] = []
    room = 1000

    def forward(part: dict[str, Any], most: int) -> Any:
        for one in parts(part, most):
            sizes.append(len(one["owner"]))
            if sizes[-1] > room:
                raise MemoryError
            yield one

    monkeypatch.setattr(classifier, "parts", forward)

    def train(name: str) -> Any:
        sizes.clear()
        spec = SPEC.model_copy(update={"dropout": 0.0, "epochs": 1})
        folder = tmp_path / name
        FineTuner(DEVICE).train(base(tiny, 4), mixed(48), None, spec, folder, scratch=tmp_path / f"{name}-scratch")
        return predict(folder, mixed(20, 3).texts, 4)

    whole = train("whole")
    assert max(sizes) <= 16
    assert len(sizes) > 3  # steps
    room = 4
    halved = train("halved")
    assert max(sizes[4:]) <= 4
    np.testing.assert_allclose(halved, whole, atol=1e-3)
    room = 1
    with pytest.raises(LearningError, match=r"a single text of 10 tokens a window .* fewer windows"):
        train("never")


@pytest.mark.parametrize("rung", ["few-shot", "fine-tune"])
def test_a_rung_trains_on_as_many_windows_as_it_reads(tiny: ModelFolder, tmp_path: Path, rung: Any) -> None:
    spec = SPEC.model_copy(update={"held_out": 0.0}) if rung == "fine-tune" else TrainingSpec(learning_rate=2e-3)
    made = make_rung(
        rung, str(tiny.path), spec, engine="torch", max_length=LENGTH, windows=2, cache_dir=tmp_path / "cache"
    )
    test = late_answers(100, 1)
    assert accuracy(made.fit(late_answers(160)).predict_proba(test.texts), test.targets) > 0.9


def test_a_worker_trains_on_as_many_windows_as_its_job_says(tiny: ModelFolder, tmp_path: Path) -> None:
    encoder = EncoderSpec(str(tiny.path), "torch", LENGTH, windows=2, cache_dir=tmp_path / "cache")
    spec = TrainingSpec(learning_rate=2e-3)
    job = TrainingJob(kind="few-shot", encoder=encoder, examples=late_answers(20), spec=spec)
    (tmp_path / "work").mkdir()
    run(tmp_path / "work", job, no_report, never)
    told = json.loads((tmp_path / "work" / "model" / "training.json").read_text())
    assert (told["max_length"], told["windows"]) == (LENGTH, 2)


def test_checkpoints_of_a_training_that_reads_less_are_not_taken_up(tiny: ModelFolder, tmp_path: Path) -> None:
    one, two = (FineTuner().key(base(tiny, windows), mixed(9), None, SPEC, tmp_path) for windows in (1, 2))
    assert one != two


def test_losses_are_those_of_texts(tiny: ModelFolder) -> None:
    """A text of three windows counts once, with its own weight."""
    import torch

    task, whole = batch_of(tiny, mixed(9))
    with torch.no_grad():
        logits = torch.cat([task.network(**task.train.texts.batch([row]), texts=1) for row in range(9)][::-1])
        each = example_losses(logits, whole["targets"], "cross-entropy", 0.0, None)
        expected = float((each * whole["weights"]).mean())
        assert float(task.loss(whole, whole)) == pytest.approx(expected, rel=1e-5)
