"""The probe on what several annotators said: class distributions in place of classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.errors import LearningError

CLASSES = 3


def blobs(size: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(CLASSES, 16))
    targets = rng.integers(CLASSES, size=size)
    vectors = centres[targets] + 1.5 * rng.normal(size=(size, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), targets


def one_hot(targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return np.eye(CLASSES, dtype=np.float32)[targets]


def test_targets_without_doubt_are_hard_ones() -> None:
    x, targets = blobs(200)
    hard = Probe.fit(x, targets, CLASSES, doubt=False)
    soft = Probe.fit(x, one_hot(targets), CLASSES)
    assert soft.activation is SOFTMAX
    np.testing.assert_array_equal(soft.weights, hard.weights)
    np.testing.assert_allclose(soft.temperature, hard.temperature, rtol=1e-3)


def test_a_share_counts_as_that_many_answers() -> None:
    x, targets = blobs(30)
    other = (targets + 1) % CLASSES
    soft = Probe.fit(x, 0.7 * one_hot(targets) + 0.3 * one_hot(other), CLASSES, calibrate=False)
    weights = np.repeat(np.array([0.7, 0.3], np.float32), len(x))
    twice = Probe.fit(
        np.concatenate([x, x]), np.concatenate([targets, other]), CLASSES, weights=weights, calibrate=False
    )
    np.testing.assert_allclose(soft.weights, twice.weights, atol=2e-3)


def test_calibration_fits_the_shares_and_not_the_likeliest_class() -> None:
    x, targets = blobs(600)
    shares = 0.6 * one_hot(targets) + 0.4 / CLASSES
    probe = Probe.fit(x, shares, CLASSES)
    assert probe.cross is not None
    p = probe.predict_proba(blobs(600, seed=5)[0])
    assert 0.6 < p.max(axis=1).mean() < 0.75  # the targets say 0.73 at most
    hard = Probe.fit(x, targets, CLASSES).predict_proba(blobs(600, seed=5)[0])
    assert hard.max(axis=1).mean() > 0.85


def test_soft_answers_are_not_doubted_a_second_time() -> None:
    x, targets = blobs(300)
    wrong = targets.copy()
    wrong[::10] = (wrong[::10] + 1) % CLASSES
    doubted = Probe.fit(x, wrong, CLASSES)
    plain = Probe.fit(x, wrong, CLASSES, doubt=False)
    soft = Probe.fit(x, one_hot(wrong), CLASSES)
    np.testing.assert_array_equal(soft.weights, plain.weights)
    assert np.abs(soft.weights - doubted.weights).max() > 0.01


def test_settled_answers_are_not_doubted_at_all() -> None:
    x, targets = blobs(300)
    wrong = targets.copy()
    wrong[::10] = (wrong[::10] + 1) % CLASSES
    doubted, plain = Probe.fit(x, wrong, CLASSES), Probe.fit(x, wrong, CLASSES, doubt=False)
    every = Probe.fit(x, wrong, CLASSES, settled=np.ones(300, np.bool_))
    none = Probe.fit(x, wrong, CLASSES, settled=np.zeros(300, np.bool_))
    np.testing.assert_array_equal(every.weights, plain.weights)
    np.testing.assert_array_equal(none.weights, doubted.weights)
    some = np.zeros(300, np.bool_)
    some[::20] = True
    mixed = Probe.fit(x, wrong, CLASSES, settled=some)
    assert np.abs(mixed.weights - doubted.weights).max() > 0.01
    assert np.abs(mixed.weights - plain.weights).max() > 0.01


@pytest.mark.parametrize("broken", [[0.5, 0.6, 0.2], [1.5, -0.5, 0.0], [np.nan, 0.5, 0.5]])
def test_what_is_no_distribution_is_refused(broken: list[float]) -> None:
    x, targets = blobs(10)
    soft = one_hot(targets)
    soft[4] = broken
    with pytest.raises(LearningError, match="row 4"):
        Probe.fit(x, soft, CLASSES)
