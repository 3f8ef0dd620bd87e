"""An encoder that is trained in the replay: when, on what, whether it goes live, and what a kill costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.load import load
from nextlabel.backend.simulation import Material, Plan, run
from nextlabel.backend.simulation.replay import Curve, Space, Stopped, replay
from nextlabel.backend.simulation.retraining import Retraining, Step
from nextlabel.backend.simulation.runs import Curves
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind
from tests.backend.own_heads import announce, on_path
from tests.backend.tiny_bert import WORDS, tiny_bert

SIZE = 120
PLAN = Plan(budget=60, batch=20, start=20, metric="accuracy")
SPEC = TrainingSpec(start_at=40, growth=1.0, held_out=0.25, epochs=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Material, Retraining]:
    """Texts of words of one half of the vocabulary or the other, and what is trained on them."""
    folder = tmp_path_factory.mktemp("encoder")
    spec = EncoderSpec(str(tiny_bert(folder / "model", spread=0.05)), "torch", 16, cache_dir=folder)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, SIZE)
    texts = tuple(" ".join(WORDS[100 * label + n] for n in rng.integers(0, 100, 6)) for label in truth.tolist())
    vectors = load(spec).encode(texts).astype(np.float16)
    anchors = np.zeros((2, vectors.shape[1]), np.float32)
    anchors[0, 0] = anchors[1, 1] = 1
    labeling = Labeling(LabelKind.SINGLE, ("one", "other"))
    return Material(vectors, anchors, truth, truth[:, None]), Retraining(texts, labeling, spec, SPEC, "few-shot")


def test_it_is_trained_when_the_labels_have_grown(made: tuple[Material, Retraining]) -> None:
    how = made[1]
    assert how.times(PLAN.points()) == [40]
    assert how.times([10, 40, 60, 79, 80, 300]) == [40, 80, 300]


@pytest.mark.parametrize("groups", [None, np.arange(SIZE) // 6])
def test_a_share_is_never_trained_on_and_a_group_is_not_parted(
    made: tuple[Material, Retraining], groups: np.ndarray[Any, Any] | None
) -> None:
    how = replace(made[1], groups=groups)
    for seed in range(20):
        aside = how.aside(seed)
        assert SIZE / 4 <= aside.sum() < SIZE / 4 + (1 if groups is None else 6)
        if groups is not None:
            assert all(len(np.unique(aside[groups == group])) == 1 for group in np.unique(groups))
    assert not np.array_equal(how.aside(0), how.aside(1))
    assert not replace(how, spec=SPEC.model_copy(update={"held_out": 0.0})).aside(0).any()


def test_a_replay_that_is_stopped_goes_on_with_its_training(
    made: tuple[Material, Retraining], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what comes of it is what the frozen encoder can't tell."""
    material, how = made
    begun: list[str] = []
    for name in ("start", "resume"):
        real = getattr(TrainingProcess, name).__func__

        def noted(cls: Any, *arguments: Any, real: Any = real, name: str = name) -> TrainingProcess:
            begun.append(name)
            found: TrainingProcess = real(cls, *arguments)
            return found

        monkeypatch.setattr(TrainingProcess, name, classmethod(noted))
    told: list[Step] = []
    seen: list[Space] = []

    def replayed(stopped: Callable[[], bool]) -> Curve:
        trainings = how.of("random", 0, tmp_path / "kept", stopped, told.append)

        def watched(*arguments: Any) -> Space:
            seen.append(trainings(*arguments))
            return seen[-1]

        return replay(material, PLAN, "random", 0, stopped, watched)

    with pytest.raises(Stopped):
        replayed(lambda: bool(begun))
    assert begun == ["start"]
    seen.clear()
    curve, plain = replayed(lambda: False), replay(material, PLAN, "random", 0)
    assert begun == ["start", "resume"]
    assert curve.scores[0] == plain.scores[0], "before the first training they are one"
    assert curve.scores[-1] > plain.scores[-1]
    assert {one.labels for one in told} == {40}
    assert told[-1].progress is None
    assert "embedding" in {one.progress.stage for one in told if one.progress is not None}
    assert [one.version for one in seen] == [0, 40, 40]
    assert 0 < len(seen[-1].learned) < 40, "a share is never trained on"
    again = replayed(lambda: False)
    assert begun == ["start", "resume"], "nothing is trained twice"
    assert again.scores == curve.scores


def test_processes_train_too_and_tell_how_far_they_are(made: tuple[Material, Retraining], tmp_path: Path) -> None:
    material, how = made
    told: list[Step] = []
    plan = replace(PLAN, budget=40)
    found = run(material, plan, [], 1, tmp_path, jobs=2, retraining=how, told=told.append)
    assert len(found.curves["random"][0].scores) == 2
    assert {one.strategy for one in told} == {"random", "(all labels)"}
    assert not list(tmp_path.glob("*/*.trainings")), "what trainings left goes with the finished curve"
    other = Curves.of(tmp_path, material, plan, replace(how, rung="fine-tune"))
    assert other.find("random", 0) is None, "another rung has curves of its own"
    assert Curves.of(tmp_path, material, plan).find("random", 0) is None


def test_a_head_of_another_package_has_curves_of_its_own(
    made: tuple[Material, Retraining], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(announce(tmp_path, {"gated": "Gated"}), monkeypatch)
    own = replace(made[1], spec=SPEC.model_copy(update={"head": "gated", "head_options": {"hidden": 8}}))
    first = own.told()
    assert first[1]["head_options"] == {"hidden": 8}
    announce(tmp_path, {"gated": "Gated"}, "# another text")
    assert own.told() != first


def test_a_training_that_fails_says_where(made: tuple[Material, Retraining], tmp_path: Path) -> None:
    material, how = made
    broken = replace(how, encoder=replace(how.encoder, name=str(tmp_path / "nothing")))
    with pytest.raises(LearningError, match=r"random, seed 0, 40 labels: .*nothing"):
        replay(material, PLAN, "random", 0, retrain=broken.of("random", 0, tmp_path / "kept"))
