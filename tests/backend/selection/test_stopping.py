"""Stopping criteria: each stops where it should, goes on where it should, and says why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from nextlabel.backend.selection.stopping import (
    Advice,
    Confident,
    FewRemaining,
    Round,
    SmallGain,
    StablePredictions,
    StoppingCriterion,
    cohens_kappa,
    power_law,
)

CRITERIA = [StablePredictions(), Confident(), SmallGain(), FewRemaining()]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda one: one.name)
@pytest.mark.parametrize("rounds", [[], [Round(0)], [Round(20)] * 9, [Round(20, found=0, remaining_high=3.0)]])
def test_what_knows_too_little_goes_on_and_says_so(criterion: StoppingCriterion, rounds: Sequence[Round]) -> None:
    assert isinstance(criterion, StoppingCriterion)
    advice = criterion.advise(rounds)
    assert not advice.stop
    assert advice.reason.startswith("too early to tell")
    assert advice.figure is None


def models(changes: Sequence[float], size: int = 1000) -> list[Round]:
    """Rounds whose predictions change for that share of records from one to the next."""
    rng = np.random.default_rng(0)
    predictions = [rng.integers(0, 3, size)]
    for share in changes:
        after = predictions[-1].copy()
        moved = rng.permutation(size)[: round(share * size)]
        after[moved] = (after[moved] + 1) % 3
        predictions.append(after)
    return [Round(20 * n, predictions=one) for n, one in enumerate(predictions)]


def test_predictions_that_have_settled() -> None:
    assert not StablePredictions().advise(models([0.2, 0.1, 0.05])).stop
    settled = StablePredictions().advise(models([0.2, 0.005, 0.0, 0.002]))
    assert settled.stop
    assert "1,000 records" in settled.reason
    assert not StablePredictions().advise(models([0.0, 0.0])).stop, "three models are too few for a window of three"
    assert StablePredictions(window=2).advise(models([0.0, 0.0])).stop


def test_one_restless_round_within_the_window_goes_on() -> None:
    assert not StablePredictions().advise(models([0.0, 0.1, 0.0])).stop
    assert StablePredictions().advise(models([0.1, 0.0, 0.0, 0.0])).stop


def test_another_stop_set_is_no_ground_for_comparison() -> None:
    rounds = [*models([0.0], 100), *models([0.0], 200)]
    assert StablePredictions().advise(rounds).reason.startswith("too early")


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_kappa_is_that_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    first = rng.integers(0, classes, 200)
    second = np.where(rng.random(200) < 0.7, first, rng.integers(0, classes, 200))
    known = 1.0 if classes == 1 else cohen_kappa_score(first, second)
    assert cohens_kappa(first, second) == pytest.approx(known)


def test_kappa_sees_through_a_class_that_nearly_everything_has() -> None:
    first, second = np.zeros(1000, np.int64), np.zeros(1000, np.int64)
    first[:5] = second[5:10] = 1
    assert (first == second).mean() == 0.99
    assert cohens_kappa(first, second) < 0


def test_several_labels_are_compared_one_by_one() -> None:
    flags = np.random.default_rng(0).random((100, 4)) < 0.3
    assert cohens_kappa(flags, flags) == 1
    assert cohens_kappa(flags, ~flags) < 0


def test_confidence_must_last() -> None:
    rounds = [Round(n, confidence=value) for n, value in enumerate([0.99, 0.9, 0.96, 0.97])]
    assert not Confident().advise(rounds).stop
    assert Confident().advise([*rounds, Round(5, confidence=0.98)]) == Advice(
        True,
        "over the last 3 rounds the model was at least 96.0% sure of the open records, which reaches 95.0%",
        0.96,
    )


def curve(ceiling: float, drop: float, decay: float, labels: Sequence[int]) -> list[Round]:
    return [Round(n, audit=ceiling - drop * n**-decay, audit_size=100 + n // 10) for n in labels]


def test_the_gain_to_expect_is_that_of_the_curve() -> None:
    rounds = curve(0.95, 2.0, 0.5, range(50, 400, 50))
    advice = SmallGain(threshold=0.005, labels=100).advise(rounds)
    true = 2.0 * (350**-0.5 - 450**-0.5)
    assert advice.figure == pytest.approx(true, rel=0.1)
    assert not advice.stop
    late = SmallGain(threshold=0.005, labels=100).advise(curve(0.95, 2.0, 0.5, range(500, 5000, 500)))
    assert late.stop
    assert "less than 0.50%" in late.reason


def test_a_noisy_curve_does_not_stop_too_early() -> None:
    rng = np.random.default_rng(1)
    stops = 0
    for _ in range(50):
        rounds = [
            Round(n, audit=rng.binomial(300, 0.95 - 2.0 * n**-0.5) / 300, audit_size=300) for n in range(40, 200, 20)
        ]
        stops += SmallGain(threshold=0.005, labels=100).advise(rounds).stop
    assert stops <= 5


def test_no_gain_at_all_is_a_gain_of_nothing() -> None:
    falling = [Round(n, audit=0.9 - n / 1e4, audit_size=100) for n in range(50, 400, 50)]
    advice = SmallGain().advise(falling)
    assert (advice.stop, advice.figure) == (True, 0.0)


def test_the_curve_goes_through_its_points() -> None:
    labels = np.arange(20, 200, 20, dtype=np.float64)
    fitted = power_law(labels, 0.9 - labels**-0.7, np.ones(len(labels)))
    assert [fitted(n) for n in labels] == pytest.approx(0.9 - labels**-0.7, abs=2e-3)


def test_few_remaining_looks_at_the_worst_case() -> None:
    assert not FewRemaining(recall=0.9).advise([Round(100, found=90, remaining_high=11.0)]).stop
    advice = FewRemaining(recall=0.9).advise([Round(100, found=90, remaining_high=10.0)])
    assert advice.stop
    assert advice.reason == "90 positives are found and at most 10 left: 90.0% at least, which reaches 90.0%"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: StablePredictions(agreement=0),
        lambda: Confident(confidence=1.1),
        lambda: SmallGain(points=2),
        lambda: FewRemaining(recall=-1),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: type) -> None:
    with pytest.raises(ValueError, match="must"):
        wrong()
