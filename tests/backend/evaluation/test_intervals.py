"""Intervals that hold the truth as often as they say, and tests that are right about which model is better."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from nextlabel.backend.evaluation import bootstrap, macro_f1, mcnemar, mcnemar_of, paired_bootstrap, wilson_interval
from nextlabel.backend.metrics import FIGURES, draw, percentiles
from nextlabel.connectors.errors import LearningError
from tests.backend.evaluation.slow import row_by_row


def predictions(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Sure of the answer where ``right``, of the other one elsewhere."""
    return np.eye(2, dtype=np.float32)[np.where(right, targets, 1 - targets)]


def coverage(groups_of_ten: bool, told: bool, rounds: int = 150) -> float:
    """How often the 95% interval of a true accuracy of 0.8 holds it; rows of one group are right or wrong together."""
    held = 0
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        right = np.repeat(rng.uniform(size=30) < 0.8, 10) if groups_of_ten else rng.uniform(size=300) < 0.8
        targets = rng.integers(0, 2, 300)
        groups = np.repeat(np.arange(30), 10) if told else None
        found = bootstrap(
            FIGURES["accuracy"], [predictions(right, targets)], targets, groups=groups, resamples=300, seed=seed
        )
        held += found.low <= 0.8 <= found.high
    return held / rounds


def test_the_bootstrap_covers_about_as_often_as_it_says():
    assert coverage(groups_of_ten=False, told=False) == pytest.approx(0.94, abs=0.045)


def test_groups_resampled_whole_cover_where_rows_do_not():
    assert coverage(groups_of_ten=True, told=True) > 0.87
    assert coverage(groups_of_ten=True, told=False) < 0.7


def test_the_same_seed_gives_the_same_interval_and_another_another():
    rng = np.random.default_rng(0)
    predicted, targets = rng.dirichlet(np.ones(3), 80).astype(np.float32), rng.integers(0, 3, 80)
    found = [bootstrap(FIGURES["roc_auc"], [predicted], targets, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert found[0].low < found[0].mean < found[0].high


def test_any_figure_can_be_resampled_and_several_seeds_are_averaged():
    rng = np.random.default_rng(0)
    predicted, targets = rng.dirichlet(np.ones(3), 80).astype(np.float32), rng.integers(0, 3, 80)
    other = rng.dirichlet(np.ones(3), 80).astype(np.float32)
    slow = bootstrap(row_by_row(macro_f1), [predicted, other], targets, resamples=50)
    quick = bootstrap(FIGURES["macro_f1"], [predicted, other], targets, resamples=50)
    assert (slow.mean, slow.low, slow.high) == pytest.approx((quick.mean, quick.low, quick.high))
    assert slow.mean == pytest.approx((macro_f1(predicted, targets) + macro_f1(other, targets)) / 2)


def test_a_perfect_score_is_not_certain():
    targets = np.array([0, 1] * 10)
    perfect = predictions(np.ones(20, np.bool_), targets)
    rows = bootstrap(FIGURES["macro_f1"], [perfect], targets)
    assert (rows.low, rows.high) == wilson_interval(20, 20)
    grouped = bootstrap(FIGURES["macro_f1"], [perfect], targets, groups=np.repeat(np.arange(4), 5))
    assert (grouped.low, grouped.high) == wilson_interval(4, 4)


def test_nothing_to_say_is_nan_and_json_has_null_for_it():
    one_class = np.zeros(6, np.int64)
    found = bootstrap(FIGURES["roc_auc"], [predictions(one_class == 0, one_class)], one_class)
    assert np.isnan([found.mean, found.low, found.high]).all()
    assert found.to_json() == {"mean": None, "low": None, "high": None}
    assert str(found) == "–"
    assert np.isnan(bootstrap(FIGURES["accuracy"], [np.empty((0, 2), np.float32)], one_class[:0]).mean)
    assert np.isnan(percentiles(np.array([np.nan]))).all()
    with pytest.raises(LearningError, match="resamples"):
        bootstrap(FIGURES["accuracy"], [predictions(one_class == 0, one_class)], one_class, resamples=0)


def test_groups_are_drawn_whole():
    codes = np.array([0, 0, 1, 2, 2, 2])
    counts = draw(6, 50, np.random.default_rng(0), codes)
    assert counts.shape == (50, 6)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 5]).all()
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()


@pytest.mark.parametrize(("only_old", "only_new"), [(9, 1), (1, 9), (5, 5), (0, 3), (0, 0)])
def test_mcnemar_is_the_fair_coin(only_old: int, only_new: int):
    old = np.array([True] * only_old + [False] * only_new + [True] * 7)
    new = np.array([False] * only_old + [True] * only_new + [True] * 7)
    found = mcnemar(old, new)
    tosses = only_old + only_new
    assert (found.only_old, found.only_new) == (only_old, only_new)
    assert found.p_worse == pytest.approx(binom.sf(only_old - 1, tosses, 0.5))
    assert found.p_better == pytest.approx(binom.cdf(only_old, tosses, 0.5))
    assert found.p_differs == pytest.approx(min(1.0, 2 * min(found.p_worse, found.p_better)))


def test_mcnemar_seldom_accuses_an_equal():
    rng = np.random.default_rng(0)
    accused = [mcnemar(rng.uniform(size=60) < 0.8, rng.uniform(size=60) < 0.8).p_worse < 0.05 for _ in range(400)]
    assert np.mean(accused) < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_mcnemar_of_probabilities_and_of_rows_that_do_not_pair():
    targets = np.array([0, 1, 1, 0])
    old, new = (predictions(np.array(right), targets) for right in ([1, 1, 0, 0], [1, 0, 0, 0]))
    assert mcnemar_of(old, new, targets) == mcnemar(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool))
    with pytest.raises(LearningError, match="paired"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))


def test_a_paired_difference_is_surer_than_two_intervals():
    rng = np.random.default_rng(0)
    targets, right = rng.integers(0, 2, 400), rng.uniform(size=400) < 0.7
    better = right | (rng.uniform(size=400) < 0.1)
    old, new = predictions(right, targets), predictions(better, targets)
    gain = paired_bootstrap(old, new, targets, figure=FIGURES["accuracy"])
    assert gain.mean == pytest.approx(better.mean() - right.mean())
    assert 0 < gain.low < gain.mean < gain.high
    assert gain.share_worse == 0.0
    apart = [bootstrap(FIGURES["accuracy"], [one], targets) for one in (old, new)]
    assert gain.high - gain.low < (apart[0].high - apart[0].low)
    back = paired_bootstrap(new, old, targets, figure=FIGURES["accuracy"])
    assert (back.mean, back.low, back.high) == pytest.approx((-gain.mean, -gain.high, -gain.low))
    assert paired_bootstrap(old, [old, old], targets).mean == 0.0


def test_a_paired_difference_of_other_rows_is_refused():
    targets = np.array([0, 1])
    with pytest.raises(LearningError, match="same 2 rows"):
        paired_bootstrap(np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)[:, :2], targets)
    assert np.isnan(paired_bootstrap(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), targets[:0]).mean)
