"""The report on annotators: what it knows, and what it doesn't claim to know."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from nextlabel.backend.annotators.opinions import Opinions, from_annotations, from_rows
from nextlabel.backend.annotators.quality import LEAST_RANKED, annotator_quality, leave_one_out, shrunk
from nextlabel.connectors.records import Annotation, AnnotationStatus
from tests.backend.annotators.crowd import crowd


def test_nobody_is_measured_with_their_own_voice() -> None:
    opinions = from_rows([(0, "a", 1), (0, "b", 1), (0, "c", 0), (1, "a", 0), (1, "b", 1), (2, "a", 1)], 3, "xy")
    # Record 0: for a and b the others are tied, for c they say 1. Record 1: one other each. Record 2: nobody else.
    assert leave_one_out(opinions).tolist() == [-1, -1, 1, 1, 0, -1]
    found = {one.name: (one.answers, one.compared, one.agreed) for one in annotator_quality(opinions).annotators}
    assert found == {"a": (3, 1, 0), "b": (2, 1, 0), "c": (1, 1, 0)}


def test_an_adjudicator_is_what_others_are_held_against() -> None:
    def given(record: str, who: str, label: str, second: int) -> Annotation:
        at = datetime(2026, 1, 1, second=second, tzinfo=UTC)
        return Annotation(f"{record}{who}", record, who, (label,), AnnotationStatus.SUBMITTED, at)

    said = [given("r0", "a", "x", 1), given("r0", "b", "x", 2), given("r0", "lead", "y", 3), given("r1", "a", "y", 4)]
    opinions = from_annotations(said, {"r0": 0, "r1": 1}, 2, "xy", adjudicators={"lead"})
    assert opinions.annotators == ("a", "b"), "who settles is nobody's peer"
    assert leave_one_out(opinions).tolist() == [1, 1, -1]
    assert leave_one_out(opinions.take([1, 0])).tolist() == [1, 1, -1]
    found = {one.name: (one.answers, one.compared, one.agreed) for one in annotator_quality(opinions).annotators}
    assert found == {"a": (2, 1, 0), "b": (1, 1, 0)}


def test_few_answers_are_not_ranked_and_lean_on_the_crowd() -> None:
    opinions, _, _ = crowd(1, 400, 8, 2, 4, least=3)
    rows = [
        (int(r), opinions.annotators[a], int(c))
        for r, a, c in zip(opinions.record, opinions.annotator, opinions.label, strict=True)
    ]
    others = leave_one_out(opinions)
    wrong = [(int(opinions.record[at]), "newcomer", int(1 - others[at])) for at in np.flatnonzero(others >= 0)[:9:4]]
    report = annotator_quality(from_rows(rows + wrong, 400, opinions.labels))
    assert report.prior is not None
    newcomer = report.annotators[-1]
    assert (newcomer.name, newcomer.rank, newcomer.agreed) == ("newcomer", None, 0)
    assert newcomer.agreement > 0.3
    assert newcomer.high - newcomer.low > 0.2
    ranked = [one for one in report.annotators if one.rank is not None]
    assert [one.rank for one in ranked] == list(range(1, 9))
    assert all(one.compared >= LEAST_RANKED for one in ranked)
    assert [one.agreement for one in ranked] == sorted((one.agreement for one in ranked), reverse=True)


def test_the_worst_annotator_comes_last_with_the_confusion_that_shows_why() -> None:
    right = (0.95, 0.9, 0.9, 0.85, 0.0)
    opinions, _, _ = crowd(2, 600, 5, 2, 4, least=4, right=right)
    label = np.where(opinions.annotator == 4, 1, opinions.label)  # says the same whatever it is
    report = annotator_quality(
        Opinions(opinions.record, opinions.annotator, label, 600, opinions.annotators, opinions.labels)
    )
    worst = report.annotators[-1]
    assert worst.name == opinions.annotators[4]
    assert worst.confusion["l0"]["l1"] == 1.0
    assert report.annotators[0].confusion["l0"]["l0"] > 0.8


@pytest.mark.parametrize("people", [6, 40])
def test_intervals_hold_what_they_promise(people: int) -> None:
    rng = np.random.default_rng(0)
    inside = total = 0
    for _ in range(2400 // people):
        true = rng.beta(17, 3, people)
        compared = rng.integers(1, 60, people)
        agreed = rng.binomial(compared, true)
        _, low, high, _ = shrunk(agreed, compared)
        inside += int(((low <= true) & (true <= high)).sum())
        total += len(true)
    assert 0.92 <= inside / total <= 0.975


def test_shrinking_is_nearer_to_the_truth_than_the_shares() -> None:
    rng = np.random.default_rng(1)
    true = rng.beta(17, 3, 500)
    compared = rng.integers(1, 15, 500)
    agreed = rng.binomial(compared, true)
    means, _, _, prior = shrunk(agreed, compared)
    assert prior.mean == pytest.approx(0.85, abs=0.03)
    assert ((means - true) ** 2).mean() < 0.5 * ((agreed / compared - true) ** 2).mean()


def test_a_crowd_that_is_always_of_one_mind_is_not_certain() -> None:
    means, low, _, prior = shrunk(np.array([5, 5, 0]), np.array([5, 5, 0]))
    assert 0.5 < prior.mean < 0.97
    assert low[0] < 0.95
    assert means[2] == pytest.approx(prior.mean, abs=0.01)
    assert low[2] < low[0]


def test_without_overlap_it_says_that_it_knows_nothing() -> None:
    report = annotator_quality(from_rows([(n, "ab"[n % 2], n % 2) for n in range(50)], 50, "xy"))
    assert (report.prior, report.pair_agreement, report.repeated) == (None, None, 0)
    assert all(one.rank is None and one.confusion == {} for one in report.annotators)
    assert annotator_quality(from_rows([], 5, "xy")).annotators == ()
    assert report.as_dict()["annotators"][0]["answers"] == 25
