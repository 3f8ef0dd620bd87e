"""Interleaving: every prefix honours the shares, nothing comes twice, nothing is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.backend.selection import ArrayVectors, Mixture, Pool, interleave
from nextlabel.connectors.errors import ExhaustedPool


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_a_small_one_by_hand() -> None:
    merged, sources = interleave({"a": (0.75, ids(1, 2, 3, 4, 5, 6)), "b": (0.25, ids(10, 20))}, 8)
    assert merged.tolist() == [1, 2, 10, 3, 4, 5, 20, 6]
    assert sources == ["a", "a", "b", "a", "a", "a", "b", "a"]
    assert merged.dtype == np.int64


@given(share=st.floats(0.01, 0.99), k=st.integers(1, 300))
def test_every_prefix_of_two_lists_is_within_one_of_its_share(share: float, k: int) -> None:
    lists = {"a": (share, np.arange(300)), "b": (1 - share, np.arange(1000, 1300))}
    _, sources = interleave(lists, k)
    for length in range(1, k + 1):
        assert abs(sources[:length].count("a") - length * share) < 1 + 1e-6


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_so_is_every_prefix_of_a_round_that_starts_anywhere(share: float, seed: int) -> None:
    lists = {"a": (share, np.arange(300)), "b": (1 - share, np.arange(1000, 1300))}
    _, sources = interleave(lists, 200, np.random.default_rng(seed))
    for length in range(1, 201):
        assert abs(sources[:length].count("a") - length * share) < 1 + 1e-6


@pytest.mark.parametrize("place", [0, 1, 7])
def test_with_chance_every_place_goes_to_a_list_as_often_as_its_share_says(place: int) -> None:
    """Only the head of a queue is ever used before the next one is made."""
    rng = np.random.default_rng(0)
    lists = {"strategy": (0.9, np.arange(20)), "audit": (0.1, np.arange(100, 120))}
    audit = sum(interleave(lists, 10, rng)[1][place] == "audit" for _ in range(2000))
    assert 140 < audit < 260  # 200 expected, standard deviation 13


@given(shares=st.lists(st.integers(1, 10), min_size=3, max_size=6), k=st.integers(1, 200))
def test_every_prefix_of_many_lists_is_near_its_share(shares: list[int], k: int) -> None:
    lists = {str(n): (share, np.arange(n * 1000, n * 1000 + 200)) for n, share in enumerate(shares)}
    _, sources = interleave(lists, k)
    for n, share in enumerate(shares):
        assert abs(sources.count(str(n)) - k * share / sum(shares)) < len(shares)


@given(
    lists=st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.floats(0, 1), st.lists(st.integers(0, 20), unique=True, max_size=12)),
        min_size=1,
    )
)
def test_nothing_twice_nothing_lost_own_order_kept(lists: dict[str, tuple[float, list[int]]]) -> None:
    given_lists = {name: (share, np.array(items, dtype=np.int64)) for name, (share, items) in lists.items()}
    everything = set().union(*(items for _, items in lists.values()))
    merged, sources = interleave(given_lists, len(everything))
    assert set(merged.tolist()) == everything
    for name, (_, items) in lists.items():
        own = [entry for entry, source in zip(merged.tolist(), sources, strict=True) if source == name]
        assert own == [entry for entry in items if entry in set(own)]
    with pytest.raises(ExhaustedPool) as caught:
        interleave(given_lists, len(everything) + 1)
    assert caught.value.left == len(everything)


def test_a_share_of_nothing_waits_for_the_others() -> None:
    merged, _ = interleave({"never": (0.0, ids(9, 8)), "always": (1.0, ids(1, 2, 3))}, 5)
    assert merged.tolist() == [1, 2, 3, 9, 8]


def test_when_a_list_ends_the_others_divide_its_place() -> None:
    lists = {"a": (0.5, ids(1)), "b": (0.3, np.arange(100, 200)), "c": (0.2, np.arange(200, 300))}
    _, sources = interleave(lists, 101)
    assert abs(sources.count("b") - 60) <= 1


def test_negative_shares_are_refused() -> None:
    for share in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="negative"):
            interleave({"a": (share, ids(1))}, 1)


def test_a_mixture_holds_its_shares() -> None:
    n = 1000
    lead = np.linspace(0, 1, n)
    p = np.stack([(1 + lead) / 2, (1 - lead) / 2], axis=1).astype(np.float32)
    pool = Pool(p, ArrayVectors(np.random.default_rng(0).standard_normal((n, 4))))
    chosen = Mixture({"margin": 0.8, "random": 0.2}).query(pool, 100, np.random.default_rng(0))
    assert (chosen < 100).sum() >= 80
    assert (chosen >= 100).sum() >= 10
    assert chosen[0] == 0


@pytest.mark.parametrize("shares", [{}, {"margin": 0.0}, {"margin": -1.0}, {"mixture": 1.0}])
def test_shares_that_make_no_mixture(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"share|itself"):
        Mixture(shares)
