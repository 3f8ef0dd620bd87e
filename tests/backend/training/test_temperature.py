"""Temperature scaling: it finds the temperature that made the answers, and few texts don't decide much."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.activation import activation_for
from nextlabel.backend.metrics import log_loss
from nextlabel.backend.models.calibration import at_temperature, fit_temperature


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_it_finds_the_temperature_behind_the_answers(true: float, multi_label: bool) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 4)).astype(np.float32)
    p = activation_for(several=multi_label).probabilities(logits / np.float32(true))
    targets = rng.random(p.shape) < p if multi_label else (p.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    assert fit_temperature(logits, targets) == pytest.approx(true, rel=0.1)


def test_a_dozen_texts_that_are_all_right_make_it_only_a_little_surer() -> None:
    logits = np.tile(np.array([[2.0, 0.0]], np.float32), (12, 1))
    assert 0.4 < fit_temperature(logits, np.zeros(12, np.int64)) < 1


def test_texts_of_weight_nought_have_no_say() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (300, 3)).astype(np.float32)
    targets = logits.argmax(axis=1)
    weights = np.repeat([1.0, 0.0], 150).astype(np.float32)
    other = np.where(weights > 0, targets, (targets + 1) % 3)
    assert fit_temperature(logits, other, weights) == pytest.approx(fit_temperature(logits, targets, weights))


def test_log_loss_by_hand_and_without_texts() -> None:
    logits = np.array([[np.log(3), 0.0], [0.0, 0.0]], np.float32)
    expected = (-np.log(0.75) - np.log(0.5)) / 2
    one = np.array([0, 1])
    assert log_loss(at_temperature(logits, 1.0, one), one) == pytest.approx(expected)
    several = np.array([[True, False]])  # one label a column, each with its own sigmoid
    assert log_loss(at_temperature(logits[:1], 1.0, several), several) == pytest.approx(
        (-np.log(0.75) - np.log(0.5)) / 2
    )
    assert np.isnan(log_loss(np.empty((0, 2), np.float32), np.empty(0, np.int64)))
    assert fit_temperature(np.empty((0, 2), np.float32), np.empty(0, np.int64)) == 1
