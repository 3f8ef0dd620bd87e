"""The objective: held against scikit-learn and against numeric derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from nextlabel.backend.activation import SIGMOID, activation_for
from nextlabel.backend.models import crossfit
from nextlabel.backend.models.crossfit import _Objective, fit_linear


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 120)
    return rng.normal(size=(120, 7)) + rng.normal(size=(4, 7))[targets], targets


def test_equals_scikit_learn_where_that_can_be_asked(data, monkeypatch):
    x, targets = data
    monkeypatch.setattr(crossfit, "BIAS_VARIANCE", 1e9)  # scikit-learn leaves the bias free
    counts = np.random.default_rng(1).uniform(0.5, 2, len(x))
    weights, bias = fit_linear(x, np.eye(4)[targets], counts, strength=0.7)
    theirs = LogisticRegression(C=0.7, tol=1e-8, max_iter=1000).fit(x, targets, counts)
    np.testing.assert_allclose(weights, theirs.coef_, atol=5e-3)
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=5e-3)


def test_multi_label_equals_one_regression_a_label(data, monkeypatch):
    x, _ = data
    monkeypatch.setattr(crossfit, "BIAS_VARIANCE", 1e9)
    answers = np.column_stack([x[:, 0] > 0, x[:, 1] + x[:, 2] > 0.5])
    weights, bias = fit_linear(x, answers.astype(float), np.ones(len(x)), strength=1.0, activation=SIGMOID)
    for label in range(2):
        theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, answers[:, label])
        np.testing.assert_allclose(weights[label], theirs.coef_[0], atol=5e-3)
        np.testing.assert_allclose(bias[label], theirs.intercept_[0], atol=5e-3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_gradient_is_the_derivative_of_the_loss(data, multi_label):
    x, _ = data
    rng = np.random.default_rng(2)
    soft = rng.dirichlet(np.ones(4), len(x)) if not multi_label else rng.uniform(size=(len(x), 4))
    objective = _Objective(
        x, soft, rng.uniform(0.1, 2, (len(x), 1)), 3.0, activation_for(several=multi_label), rng.normal(size=4 * 8)
    )
    at = rng.normal(size=4 * 8)
    _, gradient = objective(at)
    for step in np.eye(len(at))[:: len(at) // 8] * 1e-5:
        assert (objective(at + step)[0] - objective(at - step)[0]) / 2e-5 == pytest.approx(
            step @ gradient / 1e-5, rel=1e-4
        )


def test_a_start_changes_the_time_and_not_the_answer(data):
    x, targets = data
    one_hot, counts = np.eye(4)[targets], np.ones(len(x))
    cold = fit_linear(x, one_hot, counts, strength=3.0)
    warm = fit_linear(x, one_hot, counts, strength=3.0, start=np.column_stack(cold) + 0.1)
    np.testing.assert_allclose(warm[0], cold[0], atol=5e-3)


def test_huge_values_overflow_nowhere():
    x = np.array([[1e4, 0], [-1e4, 1]])
    for multi_label in (False, True):
        weights, bias = fit_linear(
            x, np.eye(2), np.ones(2), strength=1e6, activation=activation_for(several=multi_label)
        )
        assert np.isfinite(weights).all()
        assert np.isfinite(bias).all()


def test_without_data_the_fit_is_the_centre_of_the_prior():
    centre = np.random.default_rng(3).normal(size=(4, 8))
    weights, bias = fit_linear(np.empty((0, 7)), np.empty((0, 4)), np.empty(0), strength=3.0, centre=centre)
    np.testing.assert_allclose(np.column_stack([weights, bias]), centre, atol=1e-8)


def test_a_strong_belief_in_the_centre_outweighs_the_data(data):
    x, targets = data
    centre = np.random.default_rng(4).normal(size=(4, 8))
    moved = [
        np.abs(np.column_stack(fit_linear(x, np.eye(4)[targets], np.ones(len(x)), strength=c, centre=centre)) - centre)
        for c in (1e-6, 1.0)
    ]
    assert moved[0][:, :-1].max() < 1e-3 < moved[1][:, :-1].max()
