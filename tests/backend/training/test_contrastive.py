"""The contrastive loss is the paper's, and every batch has something to contrast."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nextlabel.backend.training.fewshot import TEMPERATURE, alikeness, contrastive_batches, contrastive_loss


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, 5))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def by_the_paper(x: np.ndarray, labels: list[int]) -> float:
    """Equation 2 of Khosla et al., loop by loop, averaged over the texts that have another of their kind."""
    found = []
    for i in range(len(x)):
        others = [a for a in range(len(x)) if a != i]
        same = [p for p in others if labels[p] == labels[i]]
        if same:
            total = sum(np.exp(x[i] @ x[a] / TEMPERATURE) for a in others)
            found.append(-np.mean([np.log(np.exp(x[i] @ x[p] / TEMPERATURE) / total) for p in same]))
    return float(np.mean(found))


def loss_of(x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> float:
    import torch

    counts = np.ones(len(x), np.float32) if weights is None else weights
    return float(contrastive_loss(*map(torch.from_numpy, (x, alikeness(targets), counts))))


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2]])
def test_the_loss_is_that_of_the_paper(labels: list[int]):
    x = unit_vectors(6)
    assert loss_of(x, np.array(labels)) == pytest.approx(by_the_paper(x, labels), rel=1e-4)


def test_a_batch_without_any_two_alike_costs_nothing_and_is_finite():
    assert loss_of(unit_vectors(3), np.array([0, 1, 2])) == 0


def test_a_text_without_weight_does_not_count():
    x, targets = unit_vectors(6), np.array([0, 0, 1, 1, 0, 1])
    heavy = np.array([1, 1, 1, 1, 0, 0], np.float32)
    one = [loss_of(x, targets, np.eye(6, dtype=np.float32)[row]) for row in range(4)]
    assert loss_of(x, targets, heavy) == pytest.approx(np.mean(one), rel=1e-5)


def test_alike_are_those_that_share_labels():
    np.testing.assert_array_equal(alikeness(np.array([0, 1, 0])), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    several = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], bool)
    expected = [[1, 0.5, 0, 0, 0], [0.5, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    np.testing.assert_allclose(alikeness(several), np.array(expected))


@pytest.mark.parametrize(("labels", "per_label"), [(2, 16), (5, 6), (16, 2), (77, 2)])
def test_every_batch_has_two_of_each_of_its_labels(labels: int, per_label: int):
    targets = np.repeat(np.arange(labels), 20)
    for batch in itertools.islice(contrastive_batches(targets, 32, np.random.default_rng(0)), 50):
        assert len(set(batch)) == len(batch) <= 32
        counts = np.bincount(targets[batch], minlength=labels)
        assert set(counts[counts > 0]) == {per_label}


def test_labels_come_equally_often_and_texts_of_a_label_too():
    targets = np.repeat([0, 1], [90, 10])
    shown = np.concatenate(list(itertools.islice(contrastive_batches(targets, 16, np.random.default_rng(0)), 90)))
    times = np.bincount(shown, minlength=100)
    assert times[:90].sum() == times[90:].sum() == 720
    assert set(times[:90]) == {8}
    assert set(times[90:]) == {72}


def test_a_label_with_a_single_text_is_shown_once_a_batch():
    targets = np.array([0] * 9 + [1])
    for batch in itertools.islice(contrastive_batches(targets, 8, np.random.default_rng(0)), 20):
        assert (targets[batch] == 1).sum() == 1
        assert (targets[batch] == 0).sum() == 4


def test_several_labels_a_text_are_dealt_by_the_rarest():
    targets = np.zeros((60, 3), bool)
    targets[:, 0] = True
    targets[:6, 1] = True
    batch = next(contrastive_batches(targets, 12, np.random.default_rng(0)))
    assert targets[batch, 1].sum() == 6
