"""CROWDLAB and the majority give cleanlab's numbers."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.annotators.consensus import agree, crowdlab, crowdlab_quality, majority_labels
from nextlabel.backend.annotators.opinions import Doubles, Opinions
from nextlabel.connectors.errors import LearningError
from tests.backend.annotators.crowd import crowd, to_matrix

cleanlab = pytest.importorskip("cleanlab.multiannotator")

SHAPES = [(200, 15, 3, 5), (200, 15, 2, 5), (300, 60, 2, 3), (150, 8, 6, 4), (80, 40, 2, 2)]


def quiet(function: str, *args: Any, **options: Any) -> Any:
    """A call of cleanlab without its prints."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(cleanlab, function)(*args, **options)


def cleanlabs(opinions: Opinions, predicted: Doubles, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = quiet(
        "get_label_quality_multiannotator", to_matrix(opinions), predicted, return_weights=True, **options
    )
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("records", "people", "classes", "most"), SHAPES)
def test_crowdlab(seed: int, records: int, people: int, classes: int, most: int) -> None:
    opinions, _, predicted = crowd(seed, records, people, classes, most)
    theirs, ours = cleanlabs(opinions, predicted), crowdlab(opinions, predicted)
    np.testing.assert_array_equal(ours.labels, theirs["label_quality"]["consensus_label"])
    np.testing.assert_allclose(ours.quality, theirs["label_quality"]["consensus_quality_score"], atol=1e-12)
    np.testing.assert_allclose(ours.weights, theirs["annotator_weight"], atol=1e-12)
    assert ours.model_weight == pytest.approx(theirs["model_weight"], abs=1e-12)
    np.testing.assert_allclose(ours.probabilities.sum(axis=1), 1, atol=1e-12)
    detailed = theirs["detailed_label_quality"].to_numpy()[opinions.record, opinions.annotator]
    np.testing.assert_allclose(ours.probabilities[opinions.record, opinions.label], detailed, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_ties_are_broken_as_cleanlab_breaks_them(seed: int) -> None:
    # A model that knows three probabilities only makes ties that reach the later rules.
    opinions, _, predicted = crowd(seed, 300, 12, 3, 4)
    coarse = np.round(predicted * 2 + 0.2) + 1
    coarse /= coarse.sum(axis=1, keepdims=True)
    for model in (coarse, None):
        theirs = quiet("get_majority_vote_label", to_matrix(opinions), model, verbose=False)
        np.testing.assert_array_equal(majority_labels(opinions, model), theirs)


def test_records_without_an_answer_know_nothing_and_change_nothing() -> None:
    opinions, _, predicted = crowd(0)
    wider = Opinions(opinions.record * 2, opinions.annotator, opinions.label, 400, opinions.annotators, opinions.labels)
    spread = np.repeat(predicted, 2, axis=0)
    for method in ("majority", "crowdlab", "dawid-skene"):
        found, plain = agree(wider, method, spread), agree(opinions, method, predicted)
        np.testing.assert_array_equal(found.labels[::2], plain.labels)
        np.testing.assert_allclose(found.probabilities[::2], plain.probabilities, atol=1e-9)
        assert (found.labels[1::2] == -1).all()
        np.testing.assert_allclose(found.probabilities[1::2], 1 / 3)


def test_crowdlab_says_that_it_needs_overlap() -> None:
    opinions, _, predicted = crowd(0, most=1)
    with pytest.raises(LearningError, match="two answers"):
        crowdlab(opinions, predicted)
    np.testing.assert_array_equal(agree(opinions, "crowdlab", predicted).labels, majority_labels(opinions))


@pytest.mark.parametrize("seed", range(3))
def test_how_likely_a_majority_is_is_cleanlabs_quality_of_it(seed: int) -> None:
    opinions, _, predicted = crowd(seed, 200, 15, 3, 5)
    theirs = cleanlabs(opinions, predicted, consensus_method="majority_vote")["label_quality"]
    labels = theirs["consensus_label"].to_numpy().astype(np.int64)
    found = crowdlab_quality(opinions, predicted, labels)
    np.testing.assert_allclose(found, theirs["consensus_quality_score"], atol=1e-12)
