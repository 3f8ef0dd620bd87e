"""Dawid and Skene's model against crowd-kit's, and what is added to it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nextlabel.backend.annotators import consensus as module
from nextlabel.backend.annotators.consensus import confusion, dawid_skene, majority
from nextlabel.backend.annotators.opinions import Doubles, Opinions, from_rows
from tests.backend.annotators.crowd import crowd

ROUNDS = 20


def crowdkits(opinions: Opinions) -> Doubles:
    """crowd-kit's posterior [n, c]."""
    pandas = pytest.importorskip("pandas")
    aggregation = pytest.importorskip("crowdkit.aggregation.classification.dawid_skene")
    frame = pandas.DataFrame({"task": opinions.record, "worker": opinions.annotator, "label": opinions.label})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about crowd-kit
        found = aggregation.DawidSkene(n_iter=ROUNDS, tol=-np.inf).fit(frame).probas_
    posterior: Doubles = found.sort_index()[list(range(len(opinions.labels)))].to_numpy()
    return posterior


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("people", "classes"), [(10, 2), (8, 3), (7, 4)])
def test_the_model_of_1979(seed: int, people: int, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 0.0)  # both go on to the end
    monkeypatch.setattr(module, "ROUNDS", ROUNDS)
    opinions, _, _ = crowd(seed, 250, people, classes, 5, least=5, right=np.linspace(0.5, 0.95, people).tolist())
    np.testing.assert_allclose(dawid_skene(opinions, pooled=0).probabilities, crowdkits(opinions), atol=1e-9)


def test_a_liar_is_turned_round() -> None:
    opinions, truth, _ = crowd(0, 400, 10, 2, 5, least=4)
    liar = np.flatnonzero(opinions.annotator == 0)
    label = opinions.label.copy()
    label[liar] = 1 - truth[opinions.record[liar]]
    lying = Opinions(opinions.record, opinions.annotator, label, 400, opinions.annotators, opinions.labels)
    found = dawid_skene(lying)
    right = (found.labels == truth).mean()
    assert right > (majority(lying).labels == truth).mean()
    assert confusion(lying, found.probabilities)[0, 0, 1] > 0.7


def test_few_answers_lean_on_the_average_annotator() -> None:
    # One answer, against the majority: alone it would make its author wrong always.
    opinions, truth, _ = crowd(3, 300, 9, 2, 5, least=3)
    rows = list(zip(opinions.record, (opinions.annotators[a] for a in opinions.annotator), opinions.label, strict=True))
    more = from_rows(
        [*((int(r), w, int(c)) for r, w, c in rows), (0, "newcomer", int(1 - truth[0]))], 300, opinions.labels
    )
    belief = dawid_skene(more).probabilities
    at = more.annotators.index("newcomer")
    assert np.diagonal(confusion(more, belief)[at]).min() > 0.55
    assert np.diagonal(confusion(more, belief, 0)[at]).min() < 0.2


def test_a_model_breaks_ties() -> None:
    opinions = from_rows([(0, "a", 0), (0, "b", 1), *((n, who, n % 2) for n in range(1, 41) for who in "ab")], 41, "xy")
    predicted = np.full((41, 2), 0.5)
    predicted[0] = (0.1, 0.9)
    assert dawid_skene(opinions, predicted).labels[0] == 1
    assert dawid_skene(opinions, predicted[:, ::-1]).labels[0] == 0


def test_more_right_than_the_majority_on_uneven_crowds() -> None:
    gains = []
    for seed in range(10):
        opinions, truth, _ = crowd(seed, 400, 8, 2, 5, least=5, right=(0.95, 0.95, 0.95, 0.2, 0.2, 0.2, 0.2, 0.2))
        gains.append(
            float((dawid_skene(opinions).labels == truth).mean() - (majority(opinions).labels == truth).mean())
        )
    assert np.mean(gains) > 0.02
