"""Strategies that compare records: small cases by hand, larger ones against the plain form of the algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextlabel.backend.selection import ArrayVectors, Badge, KCenter, Margin, MarginDiverse, Pool, Representative
from nextlabel.backend.selection.base import to_unit
from nextlabel.backend.selection.diversity import farthest_first
from nextlabel.connectors.errors import SelectionError
from tests.size import count


def binary(doubts: list[float]) -> np.ndarray:
    """Two-class predictions whose margin scores are ``doubts``."""
    lead = 1 - np.array(doubts)
    return np.stack([(1 + lead) / 2, (1 - lead) / 2], axis=1).astype(np.float32)


def angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def plain_farthest_first(vectors: np.ndarray, weights: np.ndarray, k: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(k):
        nearest = (vectors @ vectors[chosen].T).max(axis=1).clip(0) if chosen else np.zeros(len(vectors))
        gains = weights * (1 - nearest)
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
    return chosen


@settings(max_examples=count(25, fast=5))
@given(
    seed=st.integers(0, 10_000), size=st.sampled_from([5, 1024, 1025, 3000]), spread=st.sampled_from([0.0, 0.3, 3.0])
)
def test_the_lazy_traversal_is_the_plain_one(seed: int, size: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = to_unit(rng.standard_normal((size, 16)) + spread)
    weights = rng.uniform(0.5, 1, size).astype(np.float32)
    k = min(size, 120)
    lazy, plain = farthest_first(vectors, weights, k).tolist(), plain_farthest_first(vectors, weights, k)
    gains = [gain_of(vectors, weights, order) for order in (lazy, plain)]
    # Rounding may swap two candidates of equal gain; the gains themselves must be the same.
    assert gains[0] == pytest.approx(gains[1], abs=1e-4)


def gain_of(vectors: np.ndarray, weights: np.ndarray, order: list[int]) -> list[float]:
    gains = []
    for place, index in enumerate(order):
        nearest = float((vectors[order[:place]] @ vectors[index]).max()) if place else 0.0
        gains.append(float(weights[index]) * (1 - max(nearest, 0.0)))
    return gains


def test_the_second_is_not_a_copy_of_the_first() -> None:
    pool = Pool(binary([0.99, 0.98, 0.97, 0.60]), ArrayVectors(angles(0, 1, 2, 90)))
    rng = np.random.default_rng(0)
    assert Margin().query(pool, 3, rng).tolist() == [0, 1, 2]
    assert MarginDiverse().query(pool, 4, rng).tolist() == [0, 3, 2, 1]


def test_doubt_still_counts() -> None:
    pool = Pool(binary([0.99, 0.95, 0.10]), ArrayVectors(angles(0, 60, 90)))
    rng = np.random.default_rng(0)
    assert MarginDiverse(floor=0.0).query(pool, 2, rng).tolist() == [0, 1], "gain 0.95 x 0.5 against 0.10 x 1"
    assert MarginDiverse(floor=0.0, power=0.1).query(pool, 2, rng).tolist()[1] == 2


def test_only_what_is_alike_is_held_apart() -> None:
    rng = np.random.default_rng(0)
    scores = binary([0.99, 0.95, 0.90])
    assert MarginDiverse().query(Pool(scores, ArrayVectors(angles(0, 60, 90))), 2, rng).tolist() == [0, 1]
    assert MarginDiverse().query(Pool(scores, ArrayVectors(angles(0, 10, 90))), 2, rng).tolist() == [0, 2]
    with pytest.raises(ValueError, match="floor"):
        MarginDiverse(floor=1.0)


def test_only_the_shortlist_is_looked_at() -> None:
    rng = np.random.default_rng(0)
    pool = Pool(binary(list(np.linspace(1, 0, 1000))), ArrayVectors(rng.standard_normal((1000, 4))))
    assert MarginDiverse(top=2, least=30).query(pool, 20, rng).max() < 40
    assert MarginDiverse(top=2, least=100).query(pool, 20, rng).max() < 100


def test_k_center_keeps_away_from_what_is_labelled() -> None:
    vectors = ArrayVectors(angles(0, 45, 88))
    pool = Pool(binary([0.5, 0.5, 0.5]), vectors, angles(90), np.array([0]))
    assert KCenter().query(pool, 3, np.random.default_rng(0)).tolist() == [0, 1, 2]
    near_zero = Pool(binary([0.5, 0.5, 0.5]), vectors, angles(0), np.array([0]))
    assert KCenter().query(near_zero, 3, np.random.default_rng(0)).tolist() == [2, 1, 0]


def test_many_labelled_records_are_sampled() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([angles(90)] * 5000)
    pool = Pool(binary([0.5, 0.5, 0.5]), ArrayVectors(angles(0, 45, 88)), known, np.zeros(5000, np.int64))
    assert KCenter().query(pool, 3, rng).tolist() == [0, 1, 2]


def test_badge_starts_with_the_longest_gradient_and_avoids_copies() -> None:
    """Records 0-2 are one point, in great doubt; 3 and 4 are two others."""
    pool = Pool(binary([1.0, 1.0, 1.0, 0.8, 0.7]), ArrayVectors(angles(0, 0, 0, 90, 180)))
    for seed in range(20):
        chosen = Badge().query(pool, 5, np.random.default_rng(seed)).tolist()
        assert chosen[0] in (0, 1, 2)
        assert set(chosen[:3]) == {chosen[0], 3, 4}


def test_badge_takes_one_at_most_of_all_that_is_certain() -> None:
    """Certain records have no gradient: wherever their vectors are, they are one point."""
    rng = np.random.default_rng(0)
    doubts = [0.0] * 950 + [0.9] * 50
    pool = Pool(binary(doubts), ArrayVectors(rng.standard_normal((1000, 8))))
    for _ in range(10):
        assert (Badge().query(pool, 20, rng) < 950).sum() <= 1


def test_representative_takes_the_middle_of_the_largest_cluster_first() -> None:
    rng = np.random.default_rng(0)
    large, small = rng.normal(0, 4, 60), rng.normal(120, 4, 20)
    pool = Pool(np.full((81, 2), 0.5, np.float32), ArrayVectors(angles(*large, *small, 240)))
    first, second, third = Representative().query(pool, 3, rng).tolist()
    assert first < 60
    assert abs(large[first]) < 4
    assert 60 <= second < 80
    assert third == 80, "what nothing stands for comes once the crowds are covered"


def test_representative_counts_what_is_labelled_as_covered() -> None:
    rng = np.random.default_rng(0)
    pool_vectors = angles(*rng.normal(0, 4, 60), *rng.normal(90, 4, 20))
    pool = Pool(np.full((80, 2), 0.5, np.float32), ArrayVectors(pool_vectors), angles(0), np.array([0]))
    assert Representative().query(pool, 1, rng)[0] >= 60


def test_representative_goes_on_at_random_beyond_its_subset() -> None:
    rng = np.random.default_rng(0)
    pool = Pool(np.full((50, 2), 0.5, np.float32), ArrayVectors(rng.standard_normal((50, 4))))
    assert sorted(Representative(subset=10).query(pool, 50, rng)) == list(range(50))


@pytest.mark.parametrize("strategy", [MarginDiverse(), KCenter(), Badge(), Representative()])
def test_without_vectors_there_is_nothing_to_compare(strategy: MarginDiverse) -> None:
    with pytest.raises(SelectionError, match="vectors"):
        strategy.query(Pool(binary([0.5, 0.6])), 1, np.random.default_rng(0))


class Counting:
    """Vectors that count how many were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.read = array, 0

    def take(self, indices: np.ndarray) -> np.ndarray:
        self.read += len(indices)
        return self.array[indices]


@pytest.mark.parametrize("strategy", [MarginDiverse(), KCenter(), Badge(), Representative()])
def test_few_vectors_are_read_however_large_the_pool(strategy: MarginDiverse) -> None:
    rng = np.random.default_rng(0)
    vectors = Counting(rng.standard_normal((50_000, 4), dtype=np.float32))
    pool = Pool(rng.dirichlet(np.ones(3), 50_000).astype(np.float32), vectors)
    strategy.query(pool, 50, rng)
    assert 0 < vectors.read <= 2_000


def test_k_center_tells_an_obtuse_angle_from_an_opposite_one() -> None:
    pool = Pool(binary([0.9, 0.5, 0.1]), ArrayVectors(angles(100, 180, 120)), angles(0), np.zeros(1, np.int64))
    assert KCenter().query(pool, 2, np.random.default_rng(0)).tolist() == [1, 0]
