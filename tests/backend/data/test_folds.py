"""Folds: even classes, whole groups, any class size."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.data.examples import assign_folds


def test_a_class_never_differs_by_more_than_one_between_folds():
    rng = np.random.default_rng(0)
    targets = rng.choice(5, 213, p=[0.5, 0.3, 0.15, 0.03, 0.02])
    fold_of = assign_folds(targets, 5, rng)
    counts = np.array([[(fold_of[targets == label] == fold).sum() for fold in range(5)] for label in range(5)])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    sizes = np.bincount(fold_of, minlength=5)
    assert sizes.max() - sizes.min() <= 1


def test_classes_smaller_than_the_folds_are_fine():
    fold_of = assign_folds(np.array([0, 0, 0, 1, 2]), 5, np.random.default_rng(0))
    assert sorted(fold_of) == [0, 1, 2, 3, 4]


def test_groups_stay_whole_and_classes_stay_even():
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 60, 600)
    targets = (rng.uniform(size=600) < 0.3).astype(np.int64)
    fold_of = assign_folds(targets, 5, rng, groups)
    for group in range(60):
        assert len(set(fold_of[groups == group])) <= 1
    shares = [targets[fold_of == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.06
    assert np.bincount(fold_of).min() > 90


@pytest.mark.parametrize("grouped", [False, True])
def test_multi_label_spreads_the_rare_label(grouped):
    rng = np.random.default_rng(4)
    targets = rng.uniform(size=(200, 3)) < 0.5
    targets[:, 2] = False
    targets[:10, 2] = True
    fold_of = assign_folds(targets, 5, rng, np.arange(200) if grouped else None)
    assert np.bincount(fold_of[targets[:, 2]], minlength=5).tolist() == [2] * 5


def test_the_same_seed_gives_the_same_folds():
    targets = np.arange(50) % 3
    one, other = (assign_folds(targets, 5, np.random.default_rng(7)) for _ in range(2))
    assert (one == other).all()
    assert (one != assign_folds(targets, 5, np.random.default_rng(8))).any()
