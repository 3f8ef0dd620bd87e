"""Scores of predictions small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID
from nextlabel.backend.selection import Entropy, LeastConfidence, Margin, Pool, top_k

SINGLE = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.6, 0.3, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.2, 0.2, 0.6]], dtype=np.float32)
MULTI = np.array([[1, 0], [0.5, 0.5], [0.5, 1], [0.9, 0.2]], dtype=np.float32)


def h(*p: float) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Entropy(), [0, math.log(2) / math.log(3), h(0.6, 0.3, 0.1) / math.log(3), 1, h(0.2, 0.2, 0.6) / math.log(3)]),
        (Margin(), [0, 1, 0.7, 1, 0.6]),
        (LeastConfidence(), [0, 0.75, 0.6, 1, 0.6]),
    ],
)
def test_single_label(strategy: Entropy | Margin | LeastConfidence, expected: list[float]) -> None:
    assert strategy.score(Pool(SINGLE)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Entropy(), [0, 1, 0.5, (h(0.9, 0.1) + h(0.2, 0.8)) / (2 * math.log(2))]),
        (Margin(), [0, 1, 1, 0.4]),
        (LeastConfidence(), [0, 0.75, 0.5, 1 - 0.9 * 0.8]),
    ],
)
def test_several_labels(strategy: Entropy | Margin | LeastConfidence, expected: list[float]) -> None:
    assert strategy.score(Pool(MULTI, activation=SIGMOID)) == pytest.approx(expected, abs=1e-6)


def test_with_two_classes_all_three_agree_on_the_order() -> None:
    p = np.linspace(0.51, 0.99, 60, dtype=np.float32)
    pool = Pool(np.stack([p, 1 - p], axis=1))
    for strategy in (Entropy(), Margin(), LeastConfidence()):
        assert strategy.query(pool, 60, np.random.default_rng(0)).tolist() == list(range(60))


def test_margin_of_many_classes_against_a_sort() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(20), 50_000).astype(np.float32)
    best = np.sort(p, axis=1)[:, -2:]
    assert Margin().score(Pool(p)) == pytest.approx(1 - (best[:, 1] - best[:, 0]), abs=1e-6)


def test_ties_at_the_edge_are_drawn_fairly() -> None:
    scores = np.array([0.9] + [0.5] * 10 + [0.1], dtype=np.float32)
    rng = np.random.default_rng(0)
    drawn = np.zeros(12)
    for _ in range(500):
        chosen = top_k(scores, 6, rng)
        assert chosen[0] == 0
        drawn[chosen] += 1
    assert drawn[11] == 0
    assert (drawn[1:11] > 190).all()  # 250 expected, standard deviation 11


def test_numbers_that_are_none_come_last() -> None:
    scores = np.array([np.nan, 0.2, np.nan, 0.1, -np.inf], dtype=np.float32)
    assert top_k(scores, 2, np.random.default_rng(0)).tolist() == [1, 3]
    assert set(top_k(scores, 5, np.random.default_rng(0))[2:].tolist()) == {0, 2, 4}
