"""FineTuner: it learns, stops, goes on after an interruption, and its folder says what the network said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.encoders.torch import constant_direction
from nextlabel.backend.evaluation import accuracy
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training import classifier
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.loop import state_of
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec, never, no_report
from nextlabel.backend.training.trainer import TrainingResult, split_held_out
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError
from tests.backend.device import CLOSE, DEVICE
from tests.backend.training.conftest import made_up

SPEC = TrainingSpec(epochs=3, learning_rate=3e-3, head_learning_rate=1e-2, patience=0)


def train(tiny: ModelFolder, examples: Examples, tmp_path: Path, **changes: Any) -> TrainingResult:
    held_out = made_up(40, 99, multi_label=examples.activation.several)
    options: dict[str, Any] = {name: changes.pop(name) for name in ("report", "stop") if name in changes}
    tuner = FineTuner(DEVICE, checkpoint_seconds=changes.pop("checkpoint_seconds", 1e9))
    return tuner.train(
        tiny,
        examples,
        changes.pop("held_out", held_out),
        SPEC.model_copy(update=changes),
        tmp_path / changes.pop("name", "model"),
        scratch=tmp_path / "scratch",
        **{"report": no_report, "stop": never, **options},
    )


def predict(folder: Path, texts: tuple[Readable, ...]) -> Any:
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


def test_what_it_trains_can_be_said_by_transformers_own_classes(tiny: ModelFolder, tmp_path: Path) -> None:
    """See last_norm: the direction that carries nothing carries exactly nothing."""
    weights = load_file(train(tiny, made_up(80), tmp_path).folder / "model.safetensors")
    [last] = [name for name in weights if name.endswith("layer.1.output.LayerNorm.weight")]
    gamma, beta = (weights[name].astype(np.float64) for name in (last, last.replace("weight", "bias")))
    assert abs(constant_direction(gamma, beta)[1]) < 1e-6


def test_under_sampling_focal_loss_and_weights_train_too(tiny: ModelFolder, tmp_path: Path) -> None:
    examples = made_up(160)
    weighted = replace(examples, weights=np.linspace(0.5, 2, 160).astype(np.float32))
    result = train(tiny, weighted, tmp_path, loss="focal", class_weights="balanced", resample="over", pooling="bilstm")
    test = made_up(100, 7)
    assert accuracy(predict(result.folder, test.texts), test.targets) > 0.9
    assert read_folder(result.folder).pooling == "bilstm"


def test_texts_of_weight_nought_teach_nothing(tiny: ModelFolder, tmp_path: Path) -> None:
    """Half the answers are wrong and count for nothing: it learns as if they weren't there."""
    examples = made_up(200)
    wrong = np.arange(200) % 2 == 1
    poisoned = replace(
        examples,
        targets=np.where(wrong, 1 - examples.targets, examples.targets),
        weights=(~wrong).astype(np.float32),
    )
    test = made_up(100, 7)
    result = train(tiny, poisoned, tmp_path, epochs=5)
    assert accuracy(predict(result.folder, test.texts), test.targets) > 0.9


def test_the_same_seed_gives_the_same_model_and_another_seed_another(tiny: ModelFolder, tmp_path: Path) -> None:
    texts = made_up(20, 7).texts
    one, again, other = (
        predict(train(tiny, made_up(60), tmp_path / name, epochs=1, seed=seed).folder, texts)
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert (one == again).all()
    assert (one != other).any()


def test_it_ends_early_and_keeps_the_best_epoch(tiny: ModelFolder, tmp_path: Path) -> None:
    """At this rate it soon gets worse: what is kept is the best, and what was measured of it is true of the folder."""
    held_out = made_up(60, 5)
    wrong = np.arange(60) % 5 == 0  # without any, a lucky seed gains to the end
    held_out = replace(held_out, targets=np.where(wrong, 1 - held_out.targets, held_out.targets))
    result = train(
        tiny, made_up(60), tmp_path, epochs=30, patience=3, learning_rate=2e-2, dropout=0.5, held_out=held_out
    )
    losses = [entry["log_loss"] for entry in result.history]
    best = int(np.argmin(losses))
    assert result.best_epoch == best + 1
    assert len(losses) == min(best + 1 + 3, 30) < 30
    p = predict(result.folder, held_out.texts)[np.arange(60), held_out.targets]
    assert float(-np.log(p).mean()) == pytest.approx(losses[best], abs=CLOSE)


def test_the_encoder_is_frozen_until_it_is_to_thaw(
    tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    measure = classifier.ClassifierTask.measure

    def noted(self: classifier.ClassifierTask) -> dict[str, float]:
        seen.append(state_of(self.network))
        return measure(self)

    monkeypatch.setattr(classifier.ClassifierTask, "measure", noted)
    result = train(tiny, made_up(80), tmp_path, epochs=4, thaw_after=2, pooling="attention", patience=1)
    before = load_file(tiny.path / "model.safetensors")
    inner = [name for name in before if name.endswith("query.weight")]
    assert inner
    for at, state in enumerate(seen[:3]):
        same = [np.array_equal(state[f"body.{name}"].numpy(), before[name]) for name in inner]
        assert all(same) if at < 2 else not any(same), f"epoch {at + 1}"
    assert not np.array_equal(seen[0]["head.weight"].numpy(), seen[1]["head.weight"].numpy())
    assert seen[0]["pooler.query"].abs().sum() > 0, "the pooling learns from the start"
    assert len(result.history) >= 3, "patience counts no epoch in which the encoder was frozen"


@pytest.mark.parametrize("at", [4, 12])
def test_interrupted_in_either_stage_it_ends_with_the_same_weights(tiny: ModelFolder, tmp_path: Path, at: int) -> None:
    how: dict[str, Any] = {"thaw_after": 1, "pooling": "attention", "checkpoint_seconds": 0}
    whole = train(tiny, made_up(80), tmp_path / "whole", **how)
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done > at + 5

    with pytest.raises(TrainingCancelled):
        train(tiny, made_up(80), tmp_path / "cut", stop=stop, **how)
    again = train(tiny, made_up(80), tmp_path / "cut", **how)
    one, other = (load_file(result.folder / "model.safetensors") for result in (whole, again))
    for name in one:
        np.testing.assert_allclose(other[name], one[name], atol=CLOSE, err_msg=name)


def test_the_rates_rise_once_in_each_stage(tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    own = classifier.ClassifierTask.rate

    def noted(self: classifier.ClassifierTask, step: int) -> float:
        rates.append(own(self, step))
        return rates[-1]

    monkeypatch.setattr(classifier.ClassifierTask, "rate", noted)
    train(tiny, made_up(160), tmp_path, epochs=3, thaw_after=1, warmup=0.3)
    steps = len(rates) // 3
    for stage in (rates[:steps], rates[steps:]):
        top = stage.index(max(stage))
        assert stage[0] == 0 < top
        assert stage[: top + 1] == sorted(stage[: top + 1])
        assert stage[top:] == sorted(stage[top:], reverse=True)
    assert max(rates[:steps]) == max(rates[steps:]) == 1


def test_an_encoder_that_never_thaws_is_refused() -> None:
    with pytest.raises(ValueError, match="leave none for the encoder"):
        TrainingSpec(epochs=2, thaw_after=2)


def test_without_held_out_texts_it_trains_all_epochs(tiny: ModelFolder, tmp_path: Path) -> None:
    result = train(tiny, made_up(40), tmp_path, held_out=None, patience=1)
    assert (result.epochs, result.best_epoch, result.temperature) == (3, 3, 1)
    assert "log_loss" not in result.history[0]


class Interrupted(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("at", [3, 4, 9])
def test_interrupted_at_any_step_it_ends_with_the_same_weights(tiny: ModelFolder, tmp_path: Path, at: int) -> None:
    texts, examples = made_up(20, 7).texts, made_up(60)  # four steps an epoch
    whole = train(tiny, examples, tmp_path / "whole")

    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == "training" and progress.step >= at:
            raise Interrupted

    place = tmp_path / "parts"
    with pytest.raises(Interrupted):
        train(tiny, examples, place, report=interrupt, checkpoint_seconds=0)
    assert not (place / "model").exists()
    (place / "scratch" / "checkpoint-99").mkdir()  # begun and not finished: it must not be taken up
    steps: list[int] = []

    def note(progress: TrainingProgress) -> None:
        if progress.stage == "training":
            steps.append(progress.step)

    rest = train(tiny, examples, place, report=note, checkpoint_seconds=0)
    assert steps[0] > (4 if at == 9 else 0), "it began anew"
    np.testing.assert_allclose(predict(rest.folder, texts), predict(whole.folder, texts), atol=1e-5)
    strip = [{k: v for k, v in entry.items() if k != "seconds"} for entry in rest.history]
    for got, expected in zip(strip, whole.history, strict=True):
        assert got == pytest.approx({k: v for k, v in expected.items() if k != "seconds"}, abs=1e-4)


def test_checkpoints_of_another_training_are_not_taken_up(tiny: ModelFolder, tmp_path: Path) -> None:
    def cancel_at_nine(step: list[int] = [0]) -> bool:  # noqa: B006  # counts the calls
        step[0] += 1
        return step[0] > 9

    with pytest.raises(TrainingCancelled, match="stopped before its end"):
        train(tiny, made_up(60), tmp_path, stop=cancel_at_nine, checkpoint_seconds=0)
    assert list((tmp_path / "scratch").glob("checkpoint-*/nextlabel.json"))
    assert not (tmp_path / "model").exists()
    result = train(tiny, made_up(60, 3), tmp_path)  # other texts, same scratch folder
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]
    assert result.folder.is_dir()


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried"), MemoryError()])
def test_out_of_memory_makes_smaller_parts_and_the_same_gradients(
    tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = train(tiny, made_up(60), tmp_path / "whole", dropout=0.0)
    sizes: list[int] = []
    original = classifier.example_losses

    def example_losses(logits: Any, *others: Any) -> Any:
        if logits.requires_grad:
            sizes.append(len(logits))
            if len(logits) > 5:
                raise error
        return original(logits, *others)

    monkeypatch.setattr(classifier, "example_losses", example_losses)
    parts = train(tiny, made_up(60), tmp_path / "parts", dropout=0.0)
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[3:]) == 4, "it tries again what did not fit"
    texts = made_up(20, 7).texts
    np.testing.assert_allclose(predict(parts.folder, texts), predict(whole.folder, texts), atol=CLOSE)


def test_a_text_that_never_fits_and_other_errors_are_told(
    tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError(message)

    monkeypatch.setattr(classifier, "example_losses", fail)
    message = "[enforce fail] DefaultCPUAllocator: can't allocate memory"
    with pytest.raises(LearningError, match=r"a single text of .* does not fit in memory"):
        train(tiny, made_up(60), tmp_path)
    message = "mat1 and mat2 shapes cannot be multiplied"
    with pytest.raises(RuntimeError, match="mat1"):
        train(tiny, made_up(60), tmp_path)


def test_a_training_that_diverges_is_told(tiny: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(LearningError, match=r"diverged; lower learning_rate"):
        train(tiny, made_up(60), tmp_path, learning_rate=1e38, head_learning_rate=1e38, warmup=0.0)


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (made_up(1), "1 labelled texts are too few"),
        (replace(made_up(9), targets=np.zeros(9, np.int64)), "have the label 'early'"),
        (replace(made_up(9), weights=np.full(9, np.nan, np.float32)), "weights must be finite"),
        (replace(made_up(9), labels=("a", "b", "c")), "other labels"),
    ],
)
def test_what_cannot_be_learned_is_refused(tiny: ModelFolder, tmp_path: Path, examples: Examples, says: str) -> None:
    with pytest.raises(LearningError, match=says):
        train(tiny, examples, tmp_path)


def test_nothing_is_written_over(tiny: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(LearningError, match="exists already"):
        train(tiny, made_up(20), tmp_path)


def test_it_is_silent(tiny: ModelFolder, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(tiny, made_up(40), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_held_out_texts_keep_groups_whole_and_leave_every_label_to_train_on() -> None:
    rng = np.random.default_rng(0)
    targets = np.array([0] * 60 + [1] * 39 + [2], np.int64)
    examples = Examples(tuple(f"text {i}" for i in range(100)), targets, ("a", "b", "rare"))
    kept, held = split_held_out(examples, TrainingSpec(held_out=0.15))
    assert held is not None
    assert 10 <= len(held) <= 18
    assert sorted(map(text_of, kept.texts + held.texts)) == sorted(map(text_of, examples.texts))
    assert set(kept.targets) == {0, 1, 2}
    grouped = replace(examples, groups=rng.integers(0, 12, 100))
    kept, held = split_held_out(grouped, TrainingSpec(held_out=0.3))
    assert held is not None
    assert kept.groups is not None
    assert held.groups is not None
    assert not set(kept.groups) & set(held.groups)
    assert set(kept.targets) == {0, 1, 2}


@pytest.mark.parametrize(("count", "share"), [(100, 0.0), (19, 0.15)])
def test_nothing_is_held_out_where_that_is_asked_or_texts_are_few(count: int, share: float) -> None:
    examples = made_up(count)
    assert split_held_out(examples, TrainingSpec(held_out=share)) == (examples, None)
