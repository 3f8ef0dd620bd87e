"""Figures that have to be true."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from nextlabel.backend.evaluation import accuracy, macro_f1, out_of_fold, wilson_interval
from nextlabel.connectors.errors import LearningError


def test_out_of_fold_knows_nothing_where_there_is_nothing_to_know():
    rng = np.random.default_rng(0)
    vectors, targets = rng.normal(size=(300, 40)).astype(np.float32), rng.integers(0, 2, 300)
    assert accuracy(out_of_fold(vectors, targets, 2), targets) == pytest.approx(0.5, abs=0.1)


def test_out_of_fold_learns_what_there_is():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    vectors = (np.eye(3)[targets] + 0.2 * rng.normal(size=(200, 3))).astype(np.float32)
    predicted = out_of_fold(vectors, targets, 3)
    assert predicted.shape == (200, 3)
    assert accuracy(predicted, targets) > 0.95
    answers = np.eye(3, dtype=np.bool_)[targets]
    assert accuracy(out_of_fold(vectors, answers, 3), answers) > 0.9


def test_groups_take_the_flattery_out():
    # Ten texts a user, all alike and all with the user's label: what there is to learn is the user.
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 10)
    targets = rng.integers(0, 2, 40)[users]
    vectors = (rng.normal(size=(40, 30))[users] + 0.1 * rng.normal(size=(400, 30))).astype(np.float32)
    leaking = accuracy(out_of_fold(vectors, targets, 2), targets)
    honest = accuracy(out_of_fold(vectors, targets, 2, groups=users.astype(str)), targets)
    assert leaking > 0.95
    assert honest < 0.7


def test_two_rows_are_the_least():
    two = np.eye(2, dtype=np.float32)
    assert out_of_fold(two, np.array([0, 1]), 2).shape == (2, 2)
    with pytest.raises(LearningError, match="label more"):
        out_of_fold(two[:1], np.array([0]), 2)
    with pytest.raises(LearningError, match="folds"):
        out_of_fold(two, np.array([0, 1]), 2, folds=1)
    with pytest.raises(LearningError, match="one group"):
        out_of_fold(two, np.array([0, 1]), 2, groups=np.zeros(2))


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (19, 20, 0.7639, 0.9911),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_by_the_book(correct, n, low, high):
    """81 of 263 is the worked example of Newcombe (1998)."""
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [low <= 0.93 <= high for low, high in (wilson_interval(k, 40) for k in rng.binomial(40, 0.93, 4000))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)


def test_figures_equal_scikit_learns():
    rng = np.random.default_rng(0)
    predicted = rng.dirichlet(np.ones(4), 200).astype(np.float32)
    targets = rng.integers(0, 3, 200)
    said = predicted.argmax(axis=1)
    assert macro_f1(predicted, targets) == pytest.approx(f1_score(targets, said, average="macro"))
    answers = rng.uniform(size=(200, 4)) < 0.4
    expected = f1_score(answers, predicted > 0.5, average="macro")
    assert macro_f1(predicted, answers) == pytest.approx(expected)
    assert accuracy(predicted, answers) == pytest.approx(((predicted > 0.5) == answers).all(axis=1).mean())
