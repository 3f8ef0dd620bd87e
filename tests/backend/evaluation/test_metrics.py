"""Figures equal scikit-learn's, plain and resampled, and are nan where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from nextlabel.backend import metrics
from tests.backend.evaluation.slow import row_by_row

SEEDS = range(8)


def single(seed: int, rows: int = 120, classes: int = 4):
    """Predictions with ties among them, and answers of every class."""
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    logits = np.round(rng.normal(size=(rows, classes)) + np.eye(classes)[targets], 1)
    p = np.exp(logits)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32), targets


def multi(seed: int, rows: int = 120, classes: int = 5):
    rng = np.random.default_rng(seed)
    targets = rng.uniform(size=(rows, classes)) < 0.4
    return np.clip(np.round(rng.uniform(size=(rows, classes)) * 0.7 + 0.3 * targets, 2), 0, 1).astype(
        np.float32
    ), targets


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_single_label_figures_equal_scikit_learns(seed: int, classes: int):
    predicted, targets = single(seed, classes=classes)
    said = predicted.argmax(axis=1)
    labels = [f"label {at}" for at in range(classes)]
    assert metrics.accuracy(predicted, targets) == pytest.approx(sk.accuracy_score(targets, said))
    assert metrics.macro_f1(predicted, targets) == pytest.approx(sk.f1_score(targets, said, average="macro"))
    scores = predicted[:, 1] if classes == 2 else predicted / predicted.sum(axis=1, dtype=np.float64, keepdims=True)
    expected = sk.roc_auc_score(targets, scores, multi_class="ovr", average="macro")
    assert metrics.roc_auc(predicted, targets) == pytest.approx(expected, abs=1e-6)
    true = np.eye(classes)[targets]
    kept = [1] if classes == 2 else range(classes)
    expected = np.mean([sk.average_precision_score(true[:, at], predicted[:, at]) for at in kept])
    assert metrics.average_precision(predicted, targets) == pytest.approx(expected)
    assert (metrics.confusion(predicted, targets) == sk.confusion_matrix(targets, said)).all()
    precision, recall, f1, support = sk.precision_recall_fscore_support(targets, said, zero_division=np.nan)
    found = metrics.class_figures(predicted, targets, labels)
    assert [one.label for one in found] == labels
    assert [one.precision for one in found] == pytest.approx(precision, nan_ok=True)
    assert [one.recall for one in found] == pytest.approx(recall)
    assert [one.f1 for one in found] == pytest.approx(f1)
    assert [one.support for one in found] == support.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_multi_label_figures_equal_scikit_learns(seed: int):
    predicted, targets = multi(seed)
    said = predicted > 0.5
    assert metrics.accuracy(predicted, targets) == pytest.approx(sk.accuracy_score(targets, said))
    assert metrics.macro_f1(predicted, targets) == pytest.approx(sk.f1_score(targets, said, average="macro"))
    assert metrics.roc_auc(predicted, targets) == pytest.approx(sk.roc_auc_score(targets, predicted, average="macro"))
    expected = sk.average_precision_score(targets, predicted, average="macro")
    assert metrics.average_precision(predicted, targets) == pytest.approx(expected)
    assert (metrics.confusion(predicted, targets) == sk.multilabel_confusion_matrix(targets, said)).all()
    found = metrics.class_figures(predicted, targets, list("abcde"))
    assert [one.f1 for one in found] == pytest.approx(sk.f1_score(targets, said, average=None))


@pytest.mark.parametrize("name", metrics.FIGURES)
@pytest.mark.parametrize("made", [single, multi, lambda seed: single(seed, classes=2)])
def test_a_resampled_figure_is_the_plain_one_on_repeated_rows(name: str, made):
    predicted, targets = made(3)
    counts = np.random.default_rng(0).integers(0, 4, (6, len(targets))).astype(np.float32)
    expected = row_by_row(getattr(metrics, name)).resampled(predicted, targets, counts)
    assert metrics.FIGURES[name].resampled(predicted, targets, counts) == pytest.approx(expected, abs=1e-6)


def test_classes_that_nobody_has_are_left_out_of_the_mean():
    predicted, targets = single(0, classes=3)
    wider = np.column_stack([predicted, np.full(len(targets), 1e-6)]).astype(np.float32)
    assert metrics.roc_auc(wider, targets) == metrics.roc_auc(predicted, targets)
    assert metrics.average_precision(wider, targets) == metrics.average_precision(predicted, targets)
    assert metrics.macro_f1(wider, targets) == metrics.macro_f1(predicted, targets)
    empty = metrics.class_figures(wider, targets, list("abcd"))[3]
    assert (empty.support, empty.said) == (0, 0)
    assert np.isnan([empty.precision, empty.recall, empty.f1, empty.roc_auc, empty.average_precision]).all()


def test_what_is_not_defined_is_nan_and_never_an_error():
    one_class = np.zeros(5, np.int64)
    predicted = np.tile(np.array([0.7, 0.3], np.float32), (5, 1))
    assert np.isnan(metrics.roc_auc(predicted, one_class))
    assert np.isnan(metrics.average_precision(predicted, one_class))
    assert metrics.macro_f1(predicted, one_class) == 1.0
    for none in (np.empty(0, np.int64), np.empty((0, 2), np.bool_)):
        nothing = np.empty((0, 2), np.float32)
        for name in metrics.FIGURES:
            assert np.isnan(getattr(metrics, name)(nothing, none)), name
        assert metrics.confusion(nothing, none).sum() == 0
    drawn = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], np.float32)
    for name, figure in metrics.FIGURES.items():
        assert np.isnan(figure.resampled(predicted, one_class, drawn)[0]), name
