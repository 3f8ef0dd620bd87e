"""How many positives are left: the interval holds the truth as often as it says, and agrees with what is known."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from nextlabel.backend.evaluation import at_prevalence, remaining_positives, wilson_interval
from nextlabel.backend.evaluation.remaining import exact_total
from nextlabel.connectors.errors import LearningError


def biased_search(seed: int) -> tuple[dict[str, int], int]:
    """A pool of which the queue finds most positives; what is counted of it, and how many are left."""
    rng = np.random.default_rng(seed)
    pool = int(np.exp(rng.uniform(np.log(2_000), np.log(50_000))))
    positive = rng.random(pool) < np.exp(rng.uniform(np.log(0.01), np.log(0.2)))
    audit, queue = np.split(rng.permutation(pool), [int(rng.integers(200, 501))])
    likely = rng.normal(size=len(queue)) + 2 * positive[queue]  # the model's scores
    asked = queue[np.argsort(-likely)[: 2 * int(positive.sum())]]
    found = int(positive[audit].sum() + positive[asked].sum())
    counts = {"pool": pool, "audited": len(audit), "hits": int(positive[audit].sum())}
    return {**counts, "labelled": len(audit) + len(asked), "found": found}, int(positive.sum()) - found


def test_the_interval_holds_the_truth_in_95_of_100_simulations_or_more() -> None:
    held, missed_by_queue = 0, 0
    for seed in range(500):
        counts, left = biased_search(seed)
        told = remaining_positives(**counts).remaining
        held += told.low <= left <= told.high
        missed_by_queue += left > 0
    assert 0.95 <= held / 500 <= 0.99
    assert missed_by_queue > 400, "or there would be nothing to estimate"


def test_the_interval_of_the_audit_accuracy_holds_the_truth_in_95_of_100_simulations() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(500):
        truth, size = rng.uniform(0.6, 0.97), int(rng.integers(50, 501))
        low, high = wilson_interval(rng.binomial(size, truth), size)
        held += low <= truth <= high
    assert 0.93 <= held / 500 <= 0.97


@pytest.mark.parametrize(("size", "drawn", "hits"), [(40, 12, 0), (40, 12, 3), (40, 12, 12), (40, 40, 7), (9, 0, 0)])
def test_the_ends_are_the_last_totals_that_the_exact_tests_do_not_refute(size: int, drawn: int, hits: int) -> None:
    def chance(total: int, x: int) -> float:
        return comb(total, x) * comb(size - total, drawn - x) / comb(size, drawn)

    kept = []
    for total in range(hits, size - (drawn - hits) + 1):
        chances = [chance(total, x) for x in range(drawn + 1)]
        if sum(chances[: hits + 1]) > 0.025 and sum(chances[hits:]) > 0.025:
            kept.append(total)
    assert exact_total(size, drawn, hits) == (kept[0], kept[-1])


@given(st.data())
def test_it_never_contradicts_what_is_known(data: st.DataObject) -> None:
    pool = data.draw(st.integers(1, 5_000))
    labelled = data.draw(st.integers(0, pool))
    audited = data.draw(st.integers(0, labelled))
    hits = data.draw(st.integers(0, audited))
    found = data.draw(st.integers(hits, labelled - (audited - hits)))
    told = remaining_positives(pool=pool, audited=audited, hits=hits, labelled=labelled, found=found)
    assert 0 <= told.remaining.low <= told.remaining.mean <= told.remaining.high <= pool - labelled
    assert 0 <= told.recall.low <= told.recall.high <= 1
    assert told.total.mean == told.found + told.remaining.mean


def test_without_an_audit_all_the_rest_may_be_positive() -> None:
    told = remaining_positives(pool=100, audited=0, hits=0, labelled=10, found=4)
    assert (told.remaining.low, told.remaining.high) == (0, 90)


def test_with_everything_audited_nothing_is_left() -> None:
    told = remaining_positives(pool=100, audited=100, hits=3, labelled=100, found=3)
    assert (told.remaining.low, told.remaining.high, told.recall.mean) == (0, 0, 1)
    assert str(told) == "3 found, about 0 left [0 to 0]"


@pytest.mark.parametrize("wrong", [{"hits": 11}, {"found": 1}, {"found": 50}, {"labelled": 101}, {"audited": 41}])
def test_counts_that_contradict_each_other_are_told(wrong: dict[str, int]) -> None:
    counts = {"pool": 100, "audited": 10, "hits": 2, "labelled": 40, "found": 5}
    with pytest.raises(LearningError, match="contradict"):
        remaining_positives(**{**counts, **wrong})


def scored(positives: int, negatives: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = np.arange(positives + negatives) < positives
    return 1 / (1 + np.exp(-rng.normal(size=len(positive)) - 2 * positive)), positive


def test_at_the_share_of_the_test_set_nothing_is_corrected() -> None:
    scores, positive = scored(60, 140)
    told = at_prevalence(scores, positive, 0.3, resamples=20)
    said = scores >= 0.5
    for figure, known in ((told.precision, precision_score), (told.recall, recall_score), (told.f1, f1_score)):
        assert figure.mean == pytest.approx(known(positive, said))
    assert told.average_precision.mean == pytest.approx(average_precision_score(positive, scores))


def test_an_enriched_test_set_tells_what_a_fair_one_does() -> None:
    scores, positive = scored(2_000, 198_000, seed=1)
    fair = at_prevalence(scores, positive, 0.01, resamples=2)
    told = at_prevalence(*scored(400, 400, seed=2), 0.01, resamples=3_000)
    assert told.precision.low < fair.precision.mean < told.precision.high < 0.2
    assert told.average_precision.low < fair.average_precision.mean < told.average_precision.high
    assert told.recall.low < fair.recall.mean < told.recall.high


def test_figures_without_one_of_the_classes_are_not_defined() -> None:
    told = at_prevalence(np.array([0.2, 0.9]), np.array([True, True]), 0.1)
    assert all(np.isnan(one.mean) for one in (told.precision, told.recall, told.f1, told.average_precision))
    nothing_called = at_prevalence(np.array([0.1, 0.2]), np.array([True, False]), 0.1, resamples=5)
    assert np.isnan(nothing_called.precision.mean)
    assert nothing_called.recall.mean == 0


def test_what_can_not_be_corrected_is_refused() -> None:
    with pytest.raises(LearningError, match="prevalence of 0"):
        at_prevalence(np.array([0.2]), np.array([True]), 0.0)
    with pytest.raises(LearningError, match="1 scores"):
        at_prevalence(np.array([0.2]), np.array([True, False]), 0.1)
