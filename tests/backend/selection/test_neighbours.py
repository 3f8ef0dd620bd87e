"""Strategies for rare classes: the nearest are the nearest, and what is looked for is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nextlabel.backend.selection import ArrayVectors, Certainty, NearestPositive, Pool, Rare, distances, get_strategy
from nextlabel.backend.selection.base import to_unit
from nextlabel.backend.selection.distances import nearest
from nextlabel.connectors.errors import ConfigError, SelectionError


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return to_unit(np.random.default_rng(seed).normal(size=(n, 6)))


def pool_of(some: np.ndarray, chances: np.ndarray | None = None, **known: Any) -> Pool:
    """Two classes; ``chances`` [n] are those of class 0."""
    p = np.full(len(some), 0.01) if chances is None else chances
    return Pool(np.stack([p, 1 - p], axis=1).astype(np.float32), ArrayVectors(some), **known)


@pytest.mark.parametrize("size", [1, 10, 64, 65, 500])
def test_the_nearest_are_those_of_a_search_through_everything(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK", 64)
    some, queries = vectors(size), vectors(4, seed=1)
    found, cosines = nearest(pool_of(3 * some), queries, 10)
    assert found.shape == cosines.shape == (4, min(10, size))
    true = queries @ some.T
    for query in range(4):
        assert set(found[query]) == set(np.argsort(-true[query])[:10])
        assert cosines[query] == pytest.approx(true[query][found[query]], abs=1e-6)


def test_vectors_that_are_not_finite_are_near_to_nothing() -> None:
    some = vectors(50)
    some[::2] = np.nan
    found, cosines = nearest(pool_of(some), vectors(2, seed=1), 25)
    assert (found % 2 == 1).all()
    assert np.isfinite(cosines).all()


def test_a_pool_without_vectors_says_so() -> None:
    with pytest.raises(SelectionError, match="vectors"):
        nearest(Pool(np.full((3, 2), 0.5, np.float32)), vectors(1), 2)


def test_only_neighbours_of_positives_are_asked_about() -> None:
    """The model is sure of far records; positives found so far lie elsewhere."""
    some = vectors(400)
    centre = to_unit(some[7:8] + 0.01)
    near = set(np.argsort(-(centre @ some.T)[0])[:20])
    chances = np.where(np.isin(np.arange(400), list(near)), 0.1, 0.9)
    pool = pool_of(some, chances, labelled_vectors=np.concatenate([centre, -centre]), labelled_targets=np.array([0, 1]))
    chosen = NearestPositive(positive=0, neighbours=20).query(pool, 15, np.random.default_rng(0))
    assert set(chosen) <= near
    everything = NearestPositive(positive=0, neighbours=20).query(pool, 30, np.random.default_rng(0))
    assert near <= set(everything[:20])
    assert not set(Certainty(positive=0).query(pool, 15, np.random.default_rng(0))) & near


def test_anchors_of_a_rare_class_count_as_much_as_those_of_a_common_one() -> None:
    """Nearly all labels are negative; without anchors, the neighbours of the one positive would not be seen."""
    positive = to_unit(np.ones((1, 6)))
    some = np.concatenate([to_unit(positive + 0.1 * vectors(10)), to_unit(vectors(990) - 2 * positive)])
    negatives = to_unit(vectors(200, seed=3) - 2 * positive)
    pool = pool_of(
        some,
        labelled_vectors=np.concatenate([positive, negatives]),
        labelled_targets=np.array([0] + [1] * 200),
    )
    strategy = get_strategy("anchor", anchors=1, neighbours=10, base="random")
    chosen = strategy.query(pool, 20, np.random.default_rng(0))
    assert set(range(10)) <= set(chosen)


def test_the_rarest_label_is_the_one_that_is_least_expected() -> None:
    p = np.tile(np.array([[0.5, 0.1, 0.4]], np.float32), (20, 1))
    p[4] = [0.1, 0.8, 0.1]
    assert Certainty().query(Pool(p), 1, np.random.default_rng(0)).tolist() == [4]
    assert Certainty(positive=1).score(Pool(p))[4] == pytest.approx(0.8)
    with pytest.raises(SelectionError, match="label number 3"):
        Certainty(positive=3).score(Pool(p))
    with pytest.raises(ConfigError, match="-1"):
        get_strategy("certainty", positive=-2)


def test_the_slices_have_their_shares() -> None:
    chances = np.linspace(0.0, 0.98, 2000)
    pool = pool_of(vectors(2000), chances)
    counts = np.zeros(3)
    for seed in range(40):
        chosen = Rare(positive=0, likely=0.5, uncertain=0.3, random=0.2).query(pool, 20, np.random.default_rng(seed))
        likely, doubtful = chosen >= 1980, np.abs(chances[chosen] - 0.5) < 0.02
        counts += [likely.sum(), (doubtful & ~likely).sum(), (~likely & ~doubtful).sum()]
    assert counts / counts.sum() == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_seeds_come_first_until_there_are_enough_positives() -> None:
    seeds = np.zeros(300, np.float32)
    seeds[[10, 20, 30]] = [0.3, 0.9, 0.6]
    chances = np.where(np.arange(300) == 200, 0.9, 0.01)
    only: dict[str, Any] = {"positive": 0, "likely": 1.0, "uncertain": 0.0, "random": 0.0, "enough": 2}
    for known, expected in ((1, [20, 30, 10, 200]), (2, [200])):
        pool = pool_of(
            vectors(300),
            chances,
            labelled_vectors=vectors(known + 1),
            labelled_targets=np.array([0] * known + [1]),
            seeds=seeds,
        )
        chosen = Rare(**only).query(pool, 5, np.random.default_rng(0))
        assert chosen[: len(expected)].tolist() == expected
        assert len(set(chosen)) == 5


def test_nothing_is_chosen_twice_though_every_slice_wants_the_same() -> None:
    chances = np.r_[np.full(5, 0.5), np.zeros(95)]
    pool = pool_of(vectors(100), chances, seeds=chances.astype(np.float32))
    chosen = Rare(positive=0, different=0.2).query(pool, 100, np.random.default_rng(0))
    assert sorted(chosen) == list(range(100))


@pytest.mark.parametrize(
    "wrong", [{"likely": -0.1}, {"likely": 0, "uncertain": 0, "random": 0}, {"finder": "rare"}, {"finder": "nope"}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        get_strategy("rare", **wrong)
