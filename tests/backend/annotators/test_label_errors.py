"""Likely label errors are cleanlab's, and what cleanlab refuses is answered all the same."""

from __future__ import annotations

import builtins
import warnings
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.annotators.label_errors import of_several, of_single, of_tokens
from nextlabel.connectors.errors import MissingExtra

filters = pytest.importorskip("cleanlab.filter")


def noisy(rng: np.random.Generator, size: int, classes: int) -> tuple[Any, Any]:
    """Probabilities float32 [size, classes] that know the truth well, and labels of which a tenth is wrong."""
    truth = rng.integers(classes, size=size)
    p = rng.random((size, classes)) + 4 * np.eye(classes)[truth] * rng.random((size, 1))
    wrong = rng.random(size) < 0.1
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32), np.where(wrong, (truth + 1) % classes, truth)


@pytest.mark.parametrize("seed", range(3))
def test_single_labels_are_judged_as_cleanlab_does(seed: int) -> None:
    from cleanlab.rank import get_label_quality_scores

    p, labels = noisy(np.random.default_rng(seed), 200, 3)
    exact = p.astype(np.float64) / p.astype(np.float64).sum(axis=1, keepdims=True)
    found = of_single(p, labels)
    assert (found.likely == filters.find_label_issues(labels, exact)).all()
    assert found.likely.any()
    np.testing.assert_array_equal(found.score, get_label_quality_scores(labels, exact))
    by_hand = filters.find_label_issues(labels, exact, return_indices_ranked_by="self_confidence")
    likely = np.flatnonzero(found.likely)
    assert set(by_hand) == set(likely)
    assert found.score[by_hand].tolist() == sorted(found.score[likely])


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_are_judged_as_cleanlab_does(seed: int) -> None:
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    rng = np.random.default_rng(seed)
    flags = rng.random((150, 4)) < 0.4
    p = np.clip(np.where(flags, 0.8, 0.2) + rng.normal(0, 0.15, flags.shape), 0.01, 0.99)
    wrong = rng.random(flags.shape) < 0.05
    given = flags ^ wrong
    lists = [np.flatnonzero(row).tolist() for row in given]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        likely = find_label_issues(lists, p)
        score = get_label_quality_scores(lists, p)
    found = of_several(p.astype(np.float64), given)
    assert found.likely.any()
    assert (found.likely == likely).all()
    np.testing.assert_array_equal(found.score, score)


def test_marks_are_judged_as_cleanlab_does_token_by_token() -> None:
    from cleanlab.token_classification.filter import find_label_issues
    from cleanlab.token_classification.rank import get_label_quality_scores

    rng = np.random.default_rng(0)
    predicted, tags = [], []
    for _ in range(80):
        p, labels = noisy(rng, int(rng.integers(3, 9)), 3)
        predicted.append(p.astype(np.float64) / p.astype(np.float64).sum(axis=1, keepdims=True))
        tags.append(labels)
    found = of_tokens(predicted, tags)
    lists = [one.tolist() for one in tags]
    assert {text for text, _ in find_label_issues(lists, predicted)} == set(np.flatnonzero(found.likely).tolist())
    np.testing.assert_allclose(found.score, get_label_quality_scores(lists, predicted)[0], rtol=1e-12)


def test_a_text_without_a_token_is_no_error() -> None:
    nothing, one = np.empty(0, np.int64), np.array([0, 1])
    found = of_tokens([np.empty((0, 2)), np.array([[0.9, 0.1], [0.2, 0.8]])], [nothing, one])
    assert found.score[0] == 1.0
    assert not found.likely[0]
    assert of_tokens([], []).likely.tolist() == []


def test_where_there_is_nothing_to_hold_an_answer_against_none_is_an_error() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert not of_single(p, np.zeros(2, np.int64)).likely.any()
    assert of_single(p[:0], np.zeros(0, np.int64)).score.tolist() == []
    assert not of_several(p, np.ones((2, 2), np.bool_)).likely.any()


def test_labels_that_nobody_gave_are_no_obstacle() -> None:
    p, labels = noisy(np.random.default_rng(1), 60, 3)
    wider = np.column_stack([p, np.full(60, 1e-3, np.float32)])
    assert of_single(wider, labels).likely.any()


def test_without_cleanlab_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("cleanlab"):
            raise ImportError("No module named 'cleanlab'", name="cleanlab")
        return found(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"cleanlab is not installed.*nextlabel\[quality\]"):
        of_single(np.array([[0.9, 0.1]]), np.array([0]))
