"""What held-out predictions tell, and for how long it is kept."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID, SOFTMAX, activation_for
from nextlabel.backend.models import crossfit
from nextlabel.backend.models.crossfit import CrossFit, ProbeData, cross_fit, fold_by_content


def task(size: int, *, classes: int = 3, noise: float = 0.0, seed: int = 0) -> tuple[ProbeData, np.ndarray]:
    """A task that is easy but for its wrong answers; and which rows are answered wrongly."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, size)
    x = np.eye(classes, 12)[targets] + 0.15 * rng.normal(size=(size, 12))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    wrong = rng.uniform(size=size) < noise
    given = np.where(wrong, (targets + 1) % classes, targets)
    one_hot = np.eye(classes, dtype=np.float32)[given]
    return ProbeData(x.astype(np.float32), one_hot, np.ones(size, np.float32), None, SOFTMAX), wrong


def test_folds_depend_on_nothing_but_the_row():
    x = np.random.default_rng(0).normal(size=(5000, 16)).astype(np.float32)
    fold_of = fold_by_content(x)
    assert (fold_by_content(x[::-1][:700]) == fold_of[::-1][:700]).all()
    assert (fold_by_content(np.repeat(x[:50], 2, axis=0)) == np.repeat(fold_of[:50], 2)).all()
    shares = np.bincount(fold_of, minlength=crossfit.FOLDS) / len(x)
    assert shares == pytest.approx(1 / crossfit.FOLDS, abs=0.02)


def test_folds_of_vectors_that_went_through_the_cache():
    # Half precision leaves the low bits zero: the hash must not depend on those alone.
    x = np.random.default_rng(0).normal(size=(5000, 16)).astype(np.float16).astype(np.float32)
    assert np.bincount(fold_by_content(x)) / len(x) == pytest.approx(1 / crossfit.FOLDS, abs=0.02)


def test_too_few_labels_tell_nothing():
    assert cross_fit(task(crossfit.LEAST - 1)[0], None) is None
    assert cross_fit(task(crossfit.LEAST)[0], None) is not None


def test_no_row_is_predicted_by_a_layer_that_saw_it():
    # Each row is its own direction: held out, nothing is known about it; otherwise its answer is known by heart.
    one_hot = np.eye(2, dtype=np.float32)[np.random.default_rng(0).integers(0, 2, 60)]
    alone = ProbeData(np.eye(60, dtype=np.float32), one_hot, np.ones(60, np.float32), None, SOFTMAX)
    found = cross_fit(alone, None)
    assert found is not None
    logits = found.held_out(alone.x)
    rows = np.arange(60)
    for fold, layer in enumerate(found.layers):
        held = fold_by_content(alone.x) == fold
        np.testing.assert_allclose(layer[:, :-1][:, rows[held]], 0, atol=1e-3)
    assert np.ptp(logits[:, 0]) < np.ptp(found.layers[0][0, :-1])


def test_what_was_found_is_kept_until_the_labels_have_grown_by_a_tenth():
    whole, _ = task(300)
    first = cross_fit(whole.some(100), None)
    assert first is not None
    assert (first.labels, first.searched) == (100, 100)
    assert cross_fit(whole.some(110), first) is first
    anew = cross_fit(whole.some(111), first)
    assert anew is not None
    assert (anew.labels, anew.searched) == (111, 100)  # the strength is kept for longer
    later = cross_fit(whole.some(151), anew)
    assert later is not None
    assert (later.labels, later.searched) == (151, 151)


def test_labels_taken_back_are_noticed():
    whole, _ = task(300)
    first = cross_fit(whole, None)
    fewer = cross_fit(whole.some(100), first)
    assert fewer is not None
    assert (fewer.labels, fewer.searched) == (100, 100)
    assert cross_fit(whole.some(5), first) is None


def test_more_noise_asks_for_a_stronger_prior():
    clean, noisy = (cross_fit(task(400, noise=noise)[0], None) for noise in (0.0, 0.4))
    assert clean is not None
    assert noisy is not None
    assert noisy.strength < clean.strength


def test_only_contradicted_answers_are_doubted():
    noisy, wrong = task(300, noise=0.08)
    found = cross_fit(noisy, None)
    assert found is not None
    targets = found.believed(noisy)
    believed = (targets * noisy.targets).sum(axis=1)
    assert (believed[wrong] < 0.5).mean() > 0.4
    assert (believed[~wrong] == 1).mean() > 0.98  # as given, not a little less
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)


def test_an_unsure_model_doubts_nobody():
    noisy, _ = task(50, noise=0.2)
    unsure = CrossFit(np.zeros((crossfit.FOLDS, 3, 13), np.float32))
    np.testing.assert_array_equal(unsure.believed(noisy), noisy.targets)


def test_multi_label_answers_are_doubted_label_by_label():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    truth = x[:, :2] > 0
    given = truth.copy()
    given[:15, 1] ^= True
    noisy = ProbeData(x, given.astype(np.float32), np.ones(300, np.float32), None, SIGMOID)
    found = cross_fit(noisy, None)
    assert found is not None
    believed = np.where(given, found.believed(noisy), 1 - found.believed(noisy))
    assert believed[:15, 1].mean() < 0.5
    assert believed[:15, 0].mean() > 0.9
    assert believed[15:].mean() > 0.9


@pytest.mark.parametrize("multi_label", [False, True])
def test_positives_of_a_class_that_is_not_recognised_yet_are_believed(multi_label):
    """Six positives among 200 that no held-out prediction finds: the model can't know better than the annotator."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 30)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rare = np.arange(200) < 6
    targets = np.stack([rare, ~rare], axis=1).astype(np.float32)
    rare_task = ProbeData(x, targets, np.ones(200, np.float32), None, activation_for(several=multi_label))
    crossed = cross_fit(rare_task, None)
    assert crossed is not None
    assert (crossed.held_out(x)[rare, 0] < crossed.held_out(x)[rare, 1]).all(), "or there is nothing to doubt"
    assert np.array_equal(crossed.believed(rare_task)[rare, 0], targets[rare, 0])
