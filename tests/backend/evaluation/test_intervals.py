"""Intervals that hold the truth as often as they say, and tests that are right about which model is better."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.coverage import POPULATIONS, Population, coverage
from nextlabel.backend.evaluation import (
    confidence_interval,
    macro_f1,
    mcnemar,
    mcnemar_of,
    paired_bootstrap,
    wilson_interval,
)
from nextlabel.backend.intervals import draw, leave_out, percentiles, resample
from nextlabel.backend.metrics import FIGURES
from nextlabel.connectors.errors import LearningError


def predictions(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Sure of the answer where ``right``, of the other one elsewhere."""
    return np.eye(2, dtype=np.float32)[np.where(right, targets, 1 - targets)]


def held(figure: str, size: int, population: Population, draws: int, told: bool = True) -> float:
    """How often the interval of ``figure`` on ``size`` rows holds the truth; rows are in groups if ``told``."""
    return coverage(population, size, draws, (figure,), grouped=told)[figure].holds


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("name", ["two", "a tenth", "five, uneven"])
def test_intervals_hold_the_truth_as_often_as_they_say(figure: str, name: str):
    """The least that 95% may come to in so few draws; ``benchmarks coverage`` has all of it."""
    assert held(figure, 200, POPULATIONS[name], 150) > 0.9


def test_groups_are_units_and_hold_the_truth_where_rows_do_not():
    assert held("accuracy", 200, POPULATIONS["two, in groups"], 150) > 0.9
    assert held("accuracy", 200, POPULATIONS["two, in groups"], 150, told=False) < 0.9


def test_an_interval_is_left_to_no_chance():
    rng = np.random.default_rng(0)
    predicted, targets = rng.dirichlet(np.ones(3), 80).astype(np.float32), rng.integers(0, 3, 80)
    one, other = (confidence_interval(FIGURES["roc_auc"], [predicted], targets) for _ in range(2))
    assert one == other
    assert one.low < one.mean < one.high


def test_the_interval_of_an_accuracy_is_wilsons_but_for_the_quantile():
    targets = np.arange(100) % 2
    found = confidence_interval(FIGURES["accuracy"], [predictions(np.arange(100) >= 20, targets)], targets)
    assert (found.low, found.high) == pytest.approx(wilson_interval(80, 100), abs=0.006)


def test_the_plain_jackknife_is_what_stands_below():
    """Of a mean, the units' variance is that of the textbook: ``astropy`` and ``scipy`` have no other."""
    values = np.random.default_rng(1).uniform(size=60)
    without = leave_out(lambda counts: ((counts @ values) / counts.sum(axis=1))[:, None], np.arange(60))
    assert ((60 - 1) / 60 * ((without - without.mean()) ** 2).sum()) == pytest.approx(values.var(ddof=1) / 60)


def test_many_units_are_left_out_in_parts():
    values = np.random.default_rng(1).uniform(size=5000)
    seen: list[int] = []

    def mean(counts: np.ndarray) -> np.ndarray:
        seen.extend(counts.sum(axis=1).astype(int))
        return np.asarray(((counts @ values) / counts.sum(axis=1))[:, None], np.float64)

    without = leave_out(mean, np.arange(5000))
    assert seen == [4975] * 200
    assert ((200 - 1) / 200 * ((without - without.mean()) ** 2).sum()) == pytest.approx(values.var() / 5000, rel=0.2)


def test_several_seeds_are_averaged():
    rng = np.random.default_rng(0)
    predicted, targets = rng.dirichlet(np.ones(3), 80).astype(np.float32), rng.integers(0, 3, 80)
    other = rng.dirichlet(np.ones(3), 80).astype(np.float32)
    found = confidence_interval(FIGURES["macro_f1"], [predicted, other], targets)
    assert found.mean == pytest.approx((macro_f1(predicted, targets) + macro_f1(other, targets)) / 2)


def test_a_perfect_score_is_not_certain():
    targets = np.array([0, 1] * 10)
    perfect = predictions(np.ones(20, np.bool_), targets)
    rows = confidence_interval(FIGURES["accuracy"], [perfect], targets)
    assert (rows.low, rows.high) == wilson_interval(20, 20)
    grouped = confidence_interval(FIGURES["accuracy"], [perfect], targets, groups=np.repeat(np.arange(5), 4))
    assert (grouped.low, grouped.high) == wilson_interval(5, 5)
    for name in ("macro_f1", "roc_auc", "average_precision"):
        found = confidence_interval(FIGURES[name], [perfect], targets)
        assert wilson_interval(10, 10)[0] <= found.low < found.high == 1.0, name


def test_too_few_rows_have_a_figure_and_no_interval():
    targets = np.array([1] * 4 + [0] * 60)
    predicted = predictions(np.arange(64) % 5 > 0, targets)
    found = confidence_interval(FIGURES["average_precision"], [predicted], targets)
    assert found.mean == found.mean
    assert not found.told
    assert "too few" in str(found)
    assert found.to_json() == {"mean": found.mean, "low": None, "high": None}
    assert confidence_interval(FIGURES["accuracy"], [predicted], targets).told
    one = np.zeros(64, np.int64)
    sure = predictions(np.ones(64, np.bool_), one)
    assert not confidence_interval(FIGURES["macro_f1"], [sure], one).told, (
        "nothing is known of the label that is not there"
    )
    few = confidence_interval(FIGURES["accuracy"], [predicted], targets, groups=np.arange(64) // 16)
    assert not few.told, "four groups tell as much as four rows"


def test_nothing_to_say_is_nan_and_json_has_null_for_it():
    one_class = np.zeros(6, np.int64)
    found = confidence_interval(FIGURES["roc_auc"], [predictions(one_class == 0, one_class)], one_class)
    assert np.isnan([found.mean, found.low, found.high]).all()
    assert found.to_json() == {"mean": None, "low": None, "high": None}
    assert str(found) == "–"
    assert np.isnan(confidence_interval(FIGURES["accuracy"], [np.empty((0, 2), np.float32)], one_class[:0]).mean)
    assert np.isnan(percentiles(np.array([np.nan]))).all()
    with pytest.raises(LearningError, match="resamples"):
        resample(lambda counts: counts.sum(axis=1), 6, resamples=0)


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
    apart = [confidence_interval(FIGURES["accuracy"], [one], targets) for one in (old, new)]
    assert gain.high - gain.low < (apart[0].high - apart[0].low)
    back = paired_bootstrap(new, old, targets, figure=FIGURES["accuracy"])
    assert (back.mean, back.low, back.high) == pytest.approx((-gain.mean, -gain.high, -gain.low))
    assert paired_bootstrap(old, [old, old], targets).mean == 0.0


def test_a_paired_difference_of_other_rows_is_refused():
    targets = np.array([0, 1])
    with pytest.raises(LearningError, match="same 2 rows"):
        paired_bootstrap(np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)[:, :2], targets)
    assert np.isnan(paired_bootstrap(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), targets[:0]).mean)
