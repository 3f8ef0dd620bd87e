"""The first labels: TypiClust, ProbCover; and contrastive selection where little is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID
from nextlabel.backend.selection import ArrayVectors, Contrastive, Pool, ProbCover, TypiClust, get_strategy
from nextlabel.backend.selection.base import to_unit
from nextlabel.backend.selection.distances import k_means, squared_distances
from nextlabel.connectors.errors import ConfigError


def groups(sizes: list[int], spread: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors float32 [n, 8] in groups far apart, shuffled, and the group of each."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return to_unit(np.eye(8)[of] + spread * rng.standard_normal((len(of), 8))), of


def pool_of(vectors: np.ndarray, labelled: np.ndarray | None = None, classes: int = 2) -> Pool:
    p = np.full((len(vectors), classes), 1 / classes, dtype=np.float32)
    known = np.empty((0, 0), np.float32) if labelled is None else labelled
    return Pool(p, ArrayVectors(vectors), known, np.zeros(len(known), np.int64))


def test_typiclust_goes_round_the_groups_again() -> None:
    vectors, of = groups([50, 40, 30])
    chosen = TypiClust(clusters=3).query(pool_of(vectors), 9, np.random.default_rng(0))
    assert of[chosen].tolist() == [0, 1, 2] * 3


def test_typiclust_asks_first_where_fewest_labels_are() -> None:
    vectors, of = groups([50, 40, 30])
    known = np.concatenate([vectors[of == 0][:2], vectors[of == 1][:1]])
    chosen = TypiClust(clusters=3).query(pool_of(vectors, known), 3, np.random.default_rng(0))
    assert of[chosen].tolist() == [2, 1, 0]


def test_typiclust_leaves_tiny_groups_for_last() -> None:
    vectors, of = groups([4, 50, 40])
    chosen = TypiClust(clusters=3).query(pool_of(vectors), 3, np.random.default_rng(0))
    assert of[chosen].tolist() == [1, 2, 0]


def test_typiclust_takes_the_middle_and_not_the_rim() -> None:
    vectors, of = groups([200, 100], spread=0.3)
    chosen = TypiClust().query(pool_of(vectors), 2, np.random.default_rng(0))
    for at in chosen:
        mates = vectors[of == of[at]]
        distances = np.linalg.norm(mates - mates.mean(axis=0), axis=1)
        assert np.linalg.norm(vectors[at] - mates.mean(axis=0)) < np.quantile(distances, 0.2)


def test_probcover_covers_each_group_once_the_largest_first() -> None:
    vectors, of = groups([50, 40, 30])
    chosen = ProbCover().query(pool_of(vectors, classes=3), 3, np.random.default_rng(0))
    assert of[chosen].tolist() == [0, 1, 2]


def test_probcover_sees_labels_as_centres() -> None:
    vectors, of = groups([50, 40, 30])
    pool = pool_of(vectors, vectors[of == 0][:1], classes=3)
    chosen = ProbCover(radius=0.6).query(pool, 2, np.random.default_rng(0))
    assert of[chosen].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("typiclust", {"neighbours": 0}, "at least 1"),
        ("probcover", {"purity": 1.0}, "between 0 and 1"),
        ("probcover", {"radius": 0.0}, "leave it out to have it estimated"),
        ("probcover", {"subset": 0}, "at least 1"),
        ("contrastive", {"neighbours": 0}, "at least 1"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_strategy(name, **options)


def test_distances_block_by_block() -> None:
    vectors = np.random.default_rng(0).standard_normal((1100, 3)).astype(np.float32)
    found = np.concatenate([squares for _, squares in squared_distances(vectors)])
    assert np.allclose(found, ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2), atol=1e-4)


def test_clusters_are_the_groups() -> None:
    vectors, of = groups([50, 40, 30])
    found = k_means(vectors, 3, np.random.default_rng(0))
    assert len(set(zip(found.tolist(), of.tolist(), strict=True))) == 3


def test_contrastive_asks_where_a_twin_of_a_labelled_record_is_seen_otherwise() -> None:
    known = np.eye(3, dtype=np.float32)
    said = np.array([[0.9, 0.1]] * 3, dtype=np.float32)
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]], dtype=np.float32)
    pool = replace(pool_of(known, known), probabilities=p, labelled_probabilities=said)
    scores = Contrastive(neighbours=1).score(pool)
    assert scores[[0, 2]].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert scores[1] == pytest.approx(0.9 * np.log(0.9 / 0.2) + 0.1 * np.log(0.1 / 0.8), rel=1e-4)


def test_contrastive_without_predictions_goes_by_the_labels() -> None:
    known = np.eye(3, dtype=np.float32)
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    scores = Contrastive(neighbours=1).score(replace(pool_of(known, known), probabilities=p))
    assert scores == pytest.approx(-np.log(p[:, 0]), abs=1e-4)


def test_contrastive_adds_up_the_divergences_of_several_labels() -> None:
    known = np.eye(2, dtype=np.float32)
    said, p = np.array([[0.9, 0.5], [0.9, 0.5]], np.float32), np.array([[0.5, 0.5], [0.5, 0.1]], np.float32)
    pool = Pool(p, ArrayVectors(known), known, np.ones((2, 2), np.bool_), SIGMOID, said)
    first = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    second = 0.5 * np.log(0.5 / 0.1) + 0.5 * np.log(0.5 / 0.9)
    assert Contrastive(neighbours=1).score(pool) == pytest.approx([first, first + second], abs=1e-5)
