"""Losses against torch's own and against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nextlabel.backend.training.classifier import balanced_weights, cross_entropy, example_losses, focal


def test_cross_entropy_by_hand() -> None:
    import torch

    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    found = cross_entropy(logits, torch.tensor([0, 1]))
    np.testing.assert_allclose(found, [math.log(2), math.log(4)], rtol=1e-6)
    weighted = cross_entropy(logits, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    np.testing.assert_allclose(weighted, [math.log(2), 3 * math.log(4)], rtol=1e-6)


def test_binary_cross_entropy_is_the_mean_over_labels() -> None:
    import torch

    logits, targets = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[True, False]])
    assert cross_entropy(logits, targets).tolist() == pytest.approx([(math.log(2) + math.log(4)) / 2])
    weighted = cross_entropy(logits, targets, torch.tensor([5.0, 7.0]))  # only what is present is weighted
    assert weighted.tolist() == pytest.approx([(5 * math.log(2) + math.log(4)) / 2])


def test_focal_by_hand() -> None:
    import torch

    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])  # probabilities 3/4 and 1/4
    found = focal(logits, torch.tensor([0, 1]), gamma=2.0)
    np.testing.assert_allclose(found, [0.25**2 * math.log(4 / 3), 0.75**2 * math.log(4)], rtol=1e-5)
    weighted = focal(logits, torch.tensor([0, 1]), 2.0, torch.tensor([1.0, 10.0]))
    np.testing.assert_allclose(weighted, [found[0], 10 * found[1]], rtol=1e-5)
    both = focal(torch.tensor([[math.log(3), math.log(3)]]), torch.tensor([[True, False]]), gamma=2.0)
    np.testing.assert_allclose(both, [(0.25**2 * math.log(4 / 3) + 0.75**2 * math.log(4)) / 2], rtol=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_focal_without_focus_is_cross_entropy(multi_label: bool) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, generator=generator)
    targets = torch.randint(0, 2, (20, 3), generator=generator).bool() if multi_label else torch.arange(20) % 3
    weights = torch.tensor([0.5, 1.0, 3.0])
    torch.testing.assert_close(focal(logits, targets, 0.0, weights), cross_entropy(logits, targets, weights))
    assert (example_losses(logits, targets, "focal", 2.0) < example_losses(logits, targets, "cross-entropy", 2.0)).all()


@pytest.mark.parametrize("multi_label", [False, True])
def test_focal_and_its_gradient_stay_finite_however_sure(multi_label: bool) -> None:
    import torch

    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    targets = torch.tensor([[True, False], [True, False]]) if multi_label else torch.tensor([0, 0])
    for gamma in (0.0, 0.5, 2.0):
        loss = focal(logits, targets, gamma).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    targets = np.array([0, 0, 0, 0, 1, 2, 2, 0], np.int64)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(balanced_weights(targets, 3), expected, rtol=1e-6)
    assert balanced_weights(targets, 5)[3:].tolist() == [1, 1]  # of no text
    counted = balanced_weights(np.array([0, 1], np.int64), 2, np.array([3, 1], np.float32))
    assert counted.tolist() == pytest.approx([4 / 6, 2])


def test_balanced_weights_of_several_labels_are_absences_over_presences() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 1]], np.bool_)
    assert balanced_weights(targets, 3).tolist() == [3, 3, 1]
