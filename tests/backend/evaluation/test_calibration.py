"""Probabilities that mean what they say, and those that don't."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss as sk_log_loss

from nextlabel.backend.activation import SOFTMAX, Targets, activation_for, activation_of
from nextlabel.backend.evaluation.summary import calibration_error, reliability, tempered
from nextlabel.backend.metrics import Predicted, log_loss
from nextlabel.backend.models.calibration import fit_temperature
from nextlabel.connectors.errors import LearningError


def honest(rows: int, classes: int = 3, seed: int = 0):
    """Probabilities, and answers drawn from them."""
    rng = np.random.default_rng(seed)
    predicted = rng.dirichlet(np.ones(classes), rows).astype(np.float32)
    targets = (predicted.cumsum(axis=1) < rng.uniform(size=(rows, 1))).sum(axis=1).clip(0, classes - 1)
    return predicted, targets


def fitted(predicted: Predicted, targets: Targets) -> float:
    return fit_temperature(activation_of(targets).logits(predicted), targets, prior=0)


def test_answers_drawn_from_the_probabilities_are_calibrated():
    predicted, targets = honest(20_000)
    assert calibration_error(predicted, targets) < 0.02
    assert fitted(predicted, targets) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("temperature", [0.4, 2.5])
@pytest.mark.parametrize("multi_label", [False, True])
def test_temperature_scaling_undoes_what_made_them_too_sure_or_too_shy(temperature: float, multi_label: bool):
    rng = np.random.default_rng(1)
    if multi_label:
        predicted = rng.uniform(0.02, 0.98, (8000, 2)).astype(np.float32)
        targets = rng.uniform(size=predicted.shape) < predicted
    else:
        predicted, targets = honest(16_000)
    activation = activation_for(several=multi_label)
    bent = tempered(predicted, 1 / temperature, activation)
    assert calibration_error(bent, targets) > 0.07
    found = fitted(bent, targets)
    assert found == pytest.approx(temperature, rel=0.06)
    assert calibration_error(tempered(bent, found, activation), targets) < 0.02


def test_a_known_table():
    predicted = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9]], np.float32)
    table = reliability(predicted, np.array([0, 1, 1, 1]), bins=2)
    assert [(one.count, one.accuracy) for one in table] == [(2, 0.5), (2, 1.0)]
    assert [one.confidence for one in table] == pytest.approx([0.6, 0.9])
    assert calibration_error(predicted, np.array([0, 1, 1, 1]), bins=2) == pytest.approx(0.1)


def test_bins_hold_equally_many_and_equal_confidences_stay_together():
    predicted, targets = honest(1003)
    table = reliability(predicted, targets)
    assert sum(one.count for one in table) == 1003
    assert {one.count for one in table} <= {100, 101}
    assert [one.confidence for one in table] == sorted(one.confidence for one in table)
    same = np.tile(np.array([0.8, 0.2], np.float32), (50, 1))
    assert [one.count for one in reliability(same, np.zeros(50, np.int64))] == [50]


def test_log_loss_equals_scikit_learns():
    predicted, targets = honest(300)
    doubles = predicted.astype(np.float64) / predicted.sum(axis=1, dtype=np.float64, keepdims=True)
    assert log_loss(predicted, targets) == pytest.approx(sk_log_loss(targets, doubles), abs=1e-5)


def test_no_rows_say_nothing_and_nonsense_is_refused():
    nothing, none = np.empty((0, 2), np.float32), np.empty(0, np.int64)
    assert reliability(nothing, none) == []
    assert np.isnan([calibration_error(nothing, none), log_loss(nothing, none)]).all()
    assert fitted(nothing, none) == 1.0
    with pytest.raises(LearningError, match="bins"):
        reliability(nothing, none, bins=0)
    with pytest.raises(LearningError, match="temperature"):
        tempered(nothing, 0.0, SOFTMAX)


def test_a_probability_of_nought_for_the_answer_stays_finite():
    predicted = np.array([[1.0, 0.0]], np.float32)
    assert np.isfinite(log_loss(predicted, np.array([1])))
    assert np.isfinite(tempered(predicted, 3.0, SOFTMAX)).all()
