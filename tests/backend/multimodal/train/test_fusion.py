"""Fusion heads: they learn what neither side tells alone, and are the same after a trip through a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.encoders.fusion import HEADER_FILE, WEIGHTS_FILE, FusionHead, FusionKind
from nextlabel.backend.encoders.multimodal import TowerVectors
from nextlabel.backend.numeric import unit_rows
from nextlabel.backend.training.fusion import FusionSpec, train_fusion
from nextlabel.connectors.errors import ConfigError, LearningError

KINDS: tuple[FusionKind, ...] = ("concatenation", "product", "gated")
LABELS = ("same", "other")
QUICK: dict[str, Any] = {"hidden": 32, "epochs": 60, "learning_rate": 5e-3}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def exclusive_or(n: int, seed: int = 0) -> tuple[TowerVectors, Any, Any]:
    """Vectors of 24 and 40 numbers that hold one bit each; the label is whether the bits differ. And the bits."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(2, size=(n, 2))
    directions = np.random.default_rng(7).standard_normal((2, 40))
    parts = [
        rng.standard_normal((n, size)) + np.where(bits[:, [side]], 2, -2) * directions[side][:size]
        for side, size in enumerate((24, 40))
    ]
    return TowerVectors(*(unit_rows(part.astype(np.float32)) for part in parts)), bits[:, 0] ^ bits[:, 1], bits


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_both_sides_is_learned(kind: FusionKind) -> None:
    towers, targets, _ = exclusive_or(400)
    head = train_fusion(towers, targets, LABELS, FusionSpec(kind, **QUICK))
    unseen, truth, _ = exclusive_or(400, seed=1)
    predicted = head.predict_proba(unseen)
    assert (predicted.argmax(axis=1) == truth).mean() > 0.95
    assert np.allclose(predicted.sum(axis=1), 1, atol=1e-5)
    blind = TowerVectors(unseen.text, np.zeros_like(unseen.image))
    assert (head.predict_proba(blind).argmax(axis=1) == truth).mean() < 0.65


def test_a_linear_head_does_not_learn_it() -> None:
    """Otherwise the data would prove nothing."""
    towers, targets, _ = exclusive_or(400)
    head = train_fusion(towers, targets, LABELS, FusionSpec("concatenation", hidden=0))
    unseen, truth, _ = exclusive_or(400, seed=1)
    assert (head.predict_proba(unseen).argmax(axis=1) == truth).mean() < 0.65


@pytest.mark.parametrize("kind", KINDS)
def test_several_labels(kind: FusionKind) -> None:
    towers, differ, bits = exclusive_or(400)
    targets = np.column_stack([bits, differ]).astype(np.bool_)
    head = train_fusion(towers, targets, ("a", "b", "differ"), FusionSpec(kind, **QUICK))
    unseen, differ, bits = exclusive_or(200, seed=1)
    predicted = head.predict_proba(unseen) > 0.5
    assert (predicted == np.column_stack([bits, differ])).mean(axis=0).min() > 0.93


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 16])
def test_numpy_predicts_what_torch_computes(kind: FusionKind, hidden: int) -> None:
    import torch

    from nextlabel.backend.encoders.fusion import scaled
    from nextlabel.backend.training.fusion import fusion_network

    if hidden == 0 and kind != "concatenation":
        with pytest.raises(ConfigError):
            FusionSpec(kind, hidden=0)
        return
    towers, targets, _ = exclusive_or(60)
    spec = FusionSpec(kind, hidden=hidden, epochs=3)
    head = train_fusion(towers, targets, LABELS, spec)
    network = fusion_network(spec, 24, 40, 2).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in head.weights.items()})
    with torch.inference_mode():
        expected = network(*(torch.from_numpy(part) for part in scaled(towers))).numpy()
    assert np.allclose(head.logits(towers), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_the_same_after_a_trip_through_files(kind: FusionKind, tmp_path: Path) -> None:
    towers, targets, _ = exclusive_or(100)
    head = train_fusion(towers, targets, LABELS, FusionSpec(kind, hidden=8, epochs=3))
    head.save(tmp_path)
    loaded = FusionHead.load(tmp_path)
    assert np.array_equal(loaded.predict_proba(towers), head.predict_proba(towers))
    assert (loaded.labels, loaded.activation, len(loaded.history)) == (LABELS, SOFTMAX, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [HEADER_FILE, WEIGHTS_FILE]


@pytest.mark.parametrize("change", [{"kind": "other"}, {"format": "x"}, {"labels": ["a"]}, {"text_dimension": 3}])
def test_files_that_do_not_fit_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    towers, targets, _ = exclusive_or(50)
    train_fusion(towers, targets, LABELS, FusionSpec(hidden=8, epochs=1)).save(tmp_path)
    header = tmp_path / HEADER_FILE
    header.write_text(json.dumps({**json.loads(header.read_text()), **change}))
    with pytest.raises(LearningError, match="train it again"):
        FusionHead.load(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"rubbish")
    with pytest.raises(LearningError):
        FusionHead.load(tmp_path)


def test_it_stops_early_and_keeps_the_best_epoch() -> None:
    towers, _, _ = exclusive_or(200)
    noise = np.random.default_rng(0).integers(2, size=200)  # nothing to learn: held-out loss soon rises
    head = train_fusion(towers, noise, LABELS, FusionSpec(hidden=64, epochs=300, patience=4, learning_rate=5e-3))
    losses = [epoch["log_loss"] for epoch in head.history]
    assert len(losses) < 100
    assert int(np.argmin(losses)) == len(losses) - 1 - 4


def test_the_same_seed_gives_the_same_head_and_torch_keeps_its_own() -> None:
    import torch

    towers, targets, _ = exclusive_or(100)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (
        train_fusion(towers, targets, LABELS, FusionSpec(hidden=8, epochs=2, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(one.logits(towers), two.logits(towers))
    assert not np.array_equal(one.logits(towers), other.logits(towers))


def test_weights_count() -> None:
    towers, targets, _ = exclusive_or(400)
    wrong = targets.copy()
    wrong[:200] = 1 - wrong[:200]
    weights = np.r_[np.zeros(200), np.ones(200)]
    head = train_fusion(towers, wrong, LABELS, FusionSpec(**QUICK), weights=weights)
    assert (head.predict_proba(towers).argmax(axis=1) == targets).mean() > 0.9


def test_a_handful_of_rows_is_enough_to_run() -> None:
    towers, _, _ = exclusive_or(3)
    head = train_fusion(towers, np.array([0, 1, 1]), LABELS, FusionSpec(hidden=4, epochs=2))
    assert np.isfinite(head.predict_proba(towers)).all()


def test_what_does_not_fit_is_refused() -> None:
    towers, targets, _ = exclusive_or(20)
    with pytest.raises(LearningError, match="equally many"):
        train_fusion(towers, targets[:5], LABELS)
    with pytest.raises(LearningError, match="lie in"):
        train_fusion(towers, targets + 1, LABELS)
    with pytest.raises(LearningError, match="columns"):
        train_fusion(towers, np.zeros((20, 3), np.bool_), LABELS)
    with pytest.raises(LearningError, match="finite"):
        train_fusion(TowerVectors(towers.text * np.float32("nan"), towers.image), targets, LABELS)
    with pytest.raises(ConfigError, match="unknown"):
        FusionSpec("sum")  # type: ignore[arg-type]
    head = train_fusion(towers, targets, LABELS, FusionSpec(hidden=4, epochs=1))
    with pytest.raises(LearningError, match="24"):
        head.predict_proba(TowerVectors(towers.image, towers.text))
