"""Few-shot tuning: what comes out is a folder like any other trained model, better than the encoder it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training import fewshot
from nextlabel.backend.training.classifier import AnsweredTexts, text_classifier
from nextlabel.backend.training.fewshot import ContrastiveTask, FewShotTuner, fit_head, tuning_steps
from nextlabel.backend.training.loop import fitting
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec, Watch, never, no_report
from nextlabel.backend.training.texts import tokenised
from nextlabel.backend.training.trainer import TrainingResult
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from tests.backend.device import DEVICE
from tests.backend.training.conftest import made_up

SPEC = TrainingSpec(learning_rate=1e-3)


def tune(tiny: ModelFolder, place: Path, examples: Examples, held_out: Examples | None = None) -> TrainingResult:
    tuner = FewShotTuner(DEVICE)
    return tuner.train(tiny, examples, held_out, SPEC, place / "model", scratch=place / "scratch")


def predicted(folder: Path, texts: tuple[Readable, ...], cache: Path) -> np.ndarray:
    encoder = load_encoder(str(folder), "torch", cache_dir=cache)
    return Probe.load(folder / "head.safetensors").predict_proba(encoder.encode(texts))


def test_tuning_beats_the_encoder_as_it_was(tiny: ModelFolder, tmp_path: Path):
    train, test = made_up(64), made_up(200, seed=1)
    encoder = load_encoder(str(tiny.path), "torch", cache_dir=tmp_path)
    frozen = Probe.fit(encoder.encode(train.texts), train.targets, 2).predict_proba(encoder.encode(test.texts))
    result = tune(tiny, tmp_path, train)
    tuned = predicted(result.folder, test.texts, tmp_path)
    before, after = ((found.argmax(axis=1) == test.targets).mean() for found in (frozen, tuned))
    assert after > before + 0.02
    assert after > 0.9


def test_the_folder_is_read_as_any_model(tiny: ModelFolder, tmp_path: Path):
    result = tune(tiny, tmp_path, made_up(20))
    folder = read_folder(result.folder)
    assert (folder.dimension, folder.pooling, folder.max_length) == (32, "mean", 40)
    assert json.loads((result.folder / "labels.json").read_text()) == {
        "labels": ["early", "late"],
        "multi_label": False,
    }
    told = json.loads((result.folder / "training.json").read_text())
    assert told["texts"] == 20
    assert told["history"][-1]["loss"] < told["history"][0]["loss"]
    assert not list(tmp_path.glob(".model*"))


def test_sentence_transformers_reads_the_same_vectors(tiny: ModelFolder, tmp_path: Path):
    import sentence_transformers as library

    result, texts = tune(tiny, tmp_path, made_up(20)), made_up(30, seed=2).texts
    ours = load_encoder(str(result.folder), "torch", cache_dir=tmp_path).encode(texts)
    theirs = library.SentenceTransformer(str(result.folder), device="cpu").encode(list(texts), show_progress_bar=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_same_seed_gives_the_same_model(tiny: ModelFolder, tmp_path: Path):
    one, other = (tune(tiny, tmp_path / name, made_up(20)).folder for name in ("one", "other"))
    for file in ("model.safetensors", "head.safetensors"):
        assert (one / file).read_bytes() == (other / file).read_bytes()


def test_several_labels_a_text(tiny: ModelFolder, tmp_path: Path):
    train, test = made_up(80, multi_label=True), made_up(100, seed=1, multi_label=True)
    found = predicted(tune(tiny, tmp_path, train).folder, test.texts, tmp_path)
    assert found.shape == (100, 2)
    assert ((found > 0.5) == test.targets).mean(axis=0) == pytest.approx([0.95, 0.9], abs=0.1)


def test_a_learned_pooling_is_tuned_with_the_rest(tiny: ModelFolder, tmp_path: Path):
    spec = TrainingSpec(learning_rate=1e-3, pooling="attention")
    train, folder = made_up(40), tmp_path / "model"
    FewShotTuner(DEVICE).train(tiny, train, None, spec, folder, scratch=tmp_path / "scratch")
    assert read_folder(folder).pooling == "attention"
    assert (predicted(folder, train.texts, tmp_path).argmax(axis=1) == train.targets).mean() > 0.9


def test_progress_is_told_and_ends(tiny: ModelFolder, tmp_path: Path):
    told: list[TrainingProgress] = []
    FewShotTuner(DEVICE).train(
        tiny, made_up(20), None, SPEC, tmp_path / "model", scratch=tmp_path / "scratch", report=told.append
    )
    steps = [one for one in told if one.stage == "training"]
    assert [one.step for one in steps] == list(range(1, tuning_steps(20) + 1))
    assert steps[-1].step == steps[-1].steps
    assert told[0].stage == "tokenising"
    assert (told[-1].stage, told[-1].step) == ("embedding", 20)


def test_cancelling_leaves_no_model(tiny: ModelFolder, tmp_path: Path):
    told: list[TrainingProgress] = []
    with pytest.raises(TrainingCancelled):
        FewShotTuner(DEVICE).train(
            tiny,
            made_up(20),
            None,
            SPEC,
            tmp_path / "model",
            scratch=tmp_path / "scratch",
            report=told.append,
            stop=lambda: len(told) > 5,
        )
    assert told[-1].stage == "training"
    assert not (tmp_path / "model").exists()


def test_held_out_texts_say_how_sure_to_be(tiny: ModelFolder, tmp_path: Path):
    train, held = made_up(40), made_up(60, seed=3)
    noisy = replace(held, targets=np.where(np.arange(60) % 3 == 0, 1 - held.targets, held.targets))
    sure = tune(tiny, tmp_path / "sure", train, held)
    unsure = tune(tiny, tmp_path / "unsure", train, noisy)
    assert unsure.temperature > 2 * sure.temperature
    assert Probe.load(unsure.folder / "head.safetensors").temperature == unsure.temperature


def test_the_head_learns_nothing_from_held_out_texts():
    x = np.eye(4, dtype=np.float32)
    train, held = (Examples(("a", "b"), np.array(targets), ("x", "y", "z")) for targets in ([0, 1], [2, 2]))
    with_them, without = fit_head(x[:2], train, x[2:], held), fit_head(x[:2], train, x[2:2], None)
    np.testing.assert_array_equal(with_them.weights, without.weights)


def test_the_work_is_bounded_whatever_the_number_of_labels():
    assert tuning_steps(2) == fewshot.FEWEST_STEPS
    assert tuning_steps(770) == 240
    assert tuning_steps(1_000_000) == fewshot.MOST_STEPS


def test_an_existing_model_is_never_overwritten(tiny: ModelFolder, tmp_path: Path):
    (tmp_path / "model").mkdir()
    with pytest.raises(LearningError, match="exists already"):
        tune(tiny, tmp_path, made_up(20))


def test_a_rate_that_is_far_too_high_is_said(tiny: ModelFolder, tmp_path: Path):
    with pytest.raises(LearningError, match=r"lower learning_rate \(1e\+30\)"):
        FewShotTuner(DEVICE).train(
            tiny,
            made_up(20),
            None,
            TrainingSpec(learning_rate=1e30),
            tmp_path / "model",
            scratch=tmp_path / "scratch",
        )


def gradients(tiny: ModelFolder, count: int, most: int, fails: Callable[[int], None] = lambda _: None) -> Any:
    """Loss and gradients of one batch of ``count`` texts, half of them of two windows; what was read, in windows."""
    import torch

    examples, windowed, read = made_up(count), replace(tiny, windows=3, max_length=10), []
    torch.manual_seed(3)
    network = text_classifier(windowed, SPEC, 2).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    vectors = network.vectors

    def watched(ids: Any, mask: Any) -> Any:
        read.append((len(ids), torch.is_grad_enabled()))
        if torch.is_grad_enabled():
            fails(len(ids))
        return vectors(ids, mask)

    network.vectors = watched
    watch = Watch(no_report, never)
    cut = tokenised(windowed, examples.texts, watch)
    answered = AnsweredTexts(cut, examples.targets, np.ones(count, np.float32))
    task = ContrastiveTask(network, answered, None, SPEC, DEVICE, watch)
    torch.manual_seed(4)
    loss, most = fitting(task, task.collate(np.arange(count)), most, lambda loss: loss)
    grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return loss, grads, read, torch.rand(1), most


def test_a_batch_that_is_read_twice_has_the_same_gradients(tiny: ModelFolder) -> None:
    loss, grads, read, after, _ = gradients(tiny, 24, 1000)
    again, same, reread, later, _ = gradients(tiny, 24, 8)
    assert all(grad for _, grad in read)
    assert [size for size, grad in reread if grad] == [size for size, grad in reread if not grad]
    assert max(size for size, _ in reread) <= 8
    assert loss == pytest.approx(again)
    assert after == later, "random numbers are drawn twice"
    for name, grad in grads.items():
        np.testing.assert_allclose(same[name], grad, atol=1e-6, err_msg=name)


def test_a_batch_that_does_not_fit_is_read_in_smaller_parts(tiny: ModelFolder) -> None:
    def small_memory(windows: int) -> None:
        if windows > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    *_, read, _, most = gradients(tiny, 24, 32, small_memory)
    assert most == 4
    assert max(size for size, grad in read[-6:] if grad) <= 4


def test_not_even_one_text_fits(tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_memory(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(fewshot, "contrastive_loss", no_memory)
    with pytest.raises(LearningError, match="a single text does not fit in memory"):
        tune(tiny, tmp_path, made_up(40))
