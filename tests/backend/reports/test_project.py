"""The figures that a report makes itself, against what can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.annotators.opinions import Opinions, from_rows
from nextlabel.backend.annotators.quality import krippendorff, pair_agreement
from nextlabel.backend.intervals import wilson_interval
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.numeric import plain
from nextlabel.backend.questions import question_of
from nextlabel.backend.reports.against_random import (
    FOLDS,
    REPEATS,
    Curve,
    compare,
    monotone,
    random_curve,
    random_size,
    sizes,
)
from nextlabel.backend.reports.project import MOST_POINTS, Point, learning_curve, thinned
from nextlabel.backend.reports.project_data import LEAST_REPEATED, agreement, mark_agreement
from nextlabel.backend.reports.project_page import SHOWN_POINTS
from nextlabel.backend.store import ModelRow
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span
from tests.backend.reports.made import START

ONCE = np.ones((1, 4))


def curve(*points: tuple[int, float], records: int = 100) -> Curve:
    """A curve that is right on the first so many of the records at each size."""
    at, scores = zip(*points, strict=True)
    right = np.array([np.arange(records) < round(score * records) for score in scores], np.float64)
    return Curve(np.array(at, np.int64), right)


def level(*points: tuple[int, float], records: int = 50) -> Curve:
    """A curve that is right as often on one record as on the other, so that resampling changes nothing."""
    at, scores = zip(*points, strict=True)
    return Curve(np.array(at, np.int64), np.repeat(np.array(scores)[:, None], records, axis=1))


def two(said: list[tuple[int, int]]) -> Opinions:
    rows = [(at, who, label) for at, pair in enumerate(said) for who, label in zip("ab", pair, strict=True)]
    return from_rows(rows, len(said), ("yes", "no"))


def test_agreement_of_four_records_by_hand() -> None:
    votes = np.array([[2, 0], [2, 0], [0, 2], [1, 1]], np.float64)
    assert pair_agreement(votes, ONCE)[0] == pytest.approx(3 / 4)
    # Two values in eight disagree with their partner; by chance (64 - 25 - 9) / 7 would.
    assert krippendorff(votes, ONCE)[0] == pytest.approx(1 - 2 / (30 / 7))
    weights = np.array([[1.0, 1.0, 0.0, 2.0]])
    assert pair_agreement(votes, weights)[0] == pytest.approx(2 / 4)


def test_three_answers_weigh_as_krippendorff_has_it() -> None:
    votes = np.array([[2, 1], [0, 2], [3, 0], [2, 0]], np.float64)
    # Record 1: 4 of its ordered pairs differ, over 3 - 1 answers; 10 answers, 7 yes and 3 no.
    assert krippendorff(votes, ONCE)[0] == pytest.approx(1 - 2 / ((100 - 49 - 9) / 9))
    assert pair_agreement(votes, ONCE)[0] == pytest.approx((2 + 2 + 6 + 2) / (6 + 2 + 6 + 2))


def test_agreement_is_silent_with_few_records_and_alpha_without_a_second_label() -> None:
    assert agreement(two([(0, 0)] * (LEAST_REPEATED - 1))) is None
    found = agreement(two([(0, 0)] * LEAST_REPEATED))
    assert found is not None
    assert (found.records, found.pairs.mean) == (LEAST_REPEATED, 1.0)
    assert plain(found)["alpha"] == {"mean": None, "low": None, "high": None}


def test_agreement_has_an_interval_around_it() -> None:
    found = agreement(two([(0, 0)] * 30 + [(0, 1)] * 10))
    assert found is not None
    assert found.pairs.mean == pytest.approx(0.75)
    assert 0.58 < found.pairs.low < 0.68 < 0.82 < found.pairs.high < 0.92


def test_sizes_grow_by_half_and_hold_the_ends() -> None:
    assert sizes(40, 23) == [0, 10, 15, 22, 23, 33, 40]
    assert sizes(8, 30) == [0, 8]
    assert random_size(100) == 80
    assert random_size(53) == 42  # the largest fold has 11


def test_labels_to_the_same_accuracy_by_hand() -> None:
    random = level((0, 0.5), (10, 0.6), (20, 0.7), (40, 0.8))
    chosen = level((0, 0.5), (10, 0.75), (20, 0.85), (40, 0.9))
    found = compare(random, chosen)
    assert found.accuracy == pytest.approx(0.8)
    assert found.by_random.mean == pytest.approx(40)
    assert found.by_chosen.mean == pytest.approx(15)  # half way from 0.75 to 0.85
    assert (found.labels.low, found.labels.high) == pytest.approx((25, 25))
    assert found.at == 40
    assert found.gain.mean == pytest.approx(0.1)
    assert found.shown
    assert found.verdict == (
        "to 80.0% accuracy, 40 [40 to 40] random labels or 15 [15 to 15] chosen ones: about 25 saved (95%: +25 to +25)"
    )
    other = compare(chosen, random)
    assert other.labels.mean == pytest.approx(-25)
    assert "about 25 more than random" in other.verdict


def test_nothing_is_said_past_the_labels_that_both_have() -> None:
    random = level((0, 0.5), (20, 0.7))
    chosen = level((0, 0.5), (10, 0.7), (20, 0.8), (500, 0.99))
    found = compare(random, chosen)
    assert found.at == 20
    assert found.accuracy == pytest.approx(0.7)
    assert found.labels.mean == pytest.approx(10)
    slow = level((0, 0.5), (20, 0.6), (500, 0.99))
    found = compare(random, slow)
    assert found.labels.mean == pytest.approx(10 - 20), "0.6 is what both reach within 20 labels"


def test_a_dip_by_chance_does_not_count() -> None:
    random = level((0, 0.5), (10, 0.7), (20, 0.6), (40, 0.8))
    assert compare(random, random).labels.mean == 0
    flat = level((0, 0.5), (10, 0.65), (20, 0.65), (40, 0.8))
    found = compare(random, flat)
    assert found.labels.mean == pytest.approx(0), "0.7 and 0.6 are both 0.65 once made monotone"


def test_monotone_is_isotonic_regression() -> None:
    from sklearn.isotonic import isotonic_regression

    scores = np.random.default_rng(0).random((50, 9))
    wanted = np.array([isotonic_regression(row) for row in scores])
    assert np.abs(monotone(scores) - wanted).max() < 1e-12


def test_a_small_lead_on_few_records_is_not_shown() -> None:
    rng = np.random.default_rng(1)
    right = (rng.random((3, 40)) < [[0.5], [0.7], [0.75]]).astype(np.float64)
    other = (rng.random((3, 40)) < [[0.5], [0.7], [0.75]]).astype(np.float64)
    found = compare(Curve(np.array([0, 10, 20]), right), Curve(np.array([0, 10, 20]), other))
    assert not found.shown
    assert "not shown to differ from random" in found.verdict
    assert found.labels.low <= 0 <= found.labels.high


def test_random_labels_are_cross_validated() -> None:
    """A probe that remembers which rows it saw: none may be among those that it is tested on."""
    vectors = np.eye(25, dtype=np.float32)
    targets = np.arange(25, dtype=np.int64) % 2
    seen: list[int] = []
    fits = 0

    def fit(rows: np.ndarray, answers: np.ndarray) -> Probe:
        seen.append(len(rows))
        known = rows.sum(axis=0)
        assert (vectors[known > 0].argmax(axis=1) % 2).sum() == answers.sum()
        weights = np.stack([known * 9, np.full(25, 1.0)]).astype(np.float32)  # class 0: "I have seen this row"
        return Probe(weights, np.zeros(2, np.float32), SOFTMAX, 1.0)

    def count() -> None:
        nonlocal fits
        fits += 1

    at = sizes(random_size(25))
    found = random_curve(vectors, targets, at, fit, count)
    assert fits == len(at) * FOLDS * REPEATS
    assert sorted(set(seen)) == at
    assert (found.right == targets).all(), "class 0 would be said of a row that was learned from"


def row(version: str, labels: object, audited: object, accuracy: object) -> ModelRow:
    metrics = {"labels": labels, "audit_n": audited, "audit_accuracy": accuracy}
    return ModelRow(version, "probe", 1, metrics, "", "", START)


def test_the_curve_takes_the_newest_audited_model_of_each_size() -> None:
    tuned = ModelRow("fine-tune-1", "fine-tune", 1, {"held_out": 0.9}, "", "", START)
    rows = [row("a", 10, 19, 0.5), row("b", 20, 20, 0.6), tuned, row("c", 20, 25, 0.72), row("d", 15, 30, 0.8)]
    found = learning_curve(rows)
    assert [(one.model, one.labels, one.accuracy.mean, one.audited) for one in found] == [
        ("d", 15, 0.8, 30),
        ("c", 20, 0.72, 25),
    ]


def test_a_trained_model_has_its_interval_though_its_row_has_no_bounds() -> None:
    metrics = {"labels": 174, "held_out_n": 29, "audit_n": 36, "audit_accuracy": 0.75, "audit_before": 0.72}
    (found,) = learning_curve([ModelRow("few-shot-2", "few-shot", 1, metrics, "", "", START)])
    assert (found.accuracy.low, found.accuracy.high) == wilson_interval(27, 36)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 200),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from(["labels", "audit_n", "audit_accuracy", "audit_low", "audit_high"]), ODD))
def test_no_row_of_the_store_breaks_the_curve(metrics: dict[str, object]) -> None:
    good = row("good", 40, 50, 0.9)
    found = learning_curve([ModelRow("odd", "few-shot", 1, metrics, "", "", START), good])
    assert found[-1].accuracy.mean == 0.9 or found[-1].model == "odd"
    assert all(0 <= one.accuracy.low <= one.accuracy.mean <= one.accuracy.high <= 1 for one in found)


def test_long_curves_are_thinned_with_their_ends() -> None:
    points = tuple(Point(str(at), "", at, None, 20) for at in range(1000))  # type: ignore[arg-type]
    assert [one.labels for one in thinned(points, SHOWN_POINTS)][::11] == [0, 999]
    assert len(thinned(points, MOST_POINTS)) == MOST_POINTS


def test_scores_have_intervals_over_records() -> None:
    (one,) = curve((0, 0.8)).scores()
    assert one.mean == pytest.approx(0.8)
    assert 0.68 < one.low < 0.76 < 0.84 < one.high < 0.92


def test_people_who_mark_the_same_agree_whatever_else_they_mark() -> None:
    one, other = Span(0, 3, "PER"), Span(9, 12, "ORG")
    pairs = [((one, other), (one, other)), ((one, other), (one,)), ((), ()), ((one,), (replace(one, label="ORG"),))]
    submitted = AnnotationStatus.SUBMITTED
    answers = [
        [
            Annotation(f"{at}{number}", f"r{at}", str(number), value, submitted, START)
            for number, value in enumerate(pair)
        ]
        for at, pair in enumerate(pairs * 10)
    ]
    alone = [given[:1] for given in answers]
    marks = question_of(Labeling(LabelKind.SPAN, ("PER", "ORG")))
    found = mark_agreement(marks, [*answers, *alone])
    assert found is not None
    assert (found.records, found.of_marks) == (40, True)
    assert found.pairs.mean == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert found.pairs.low < found.pairs.mean < found.pairs.high
    assert mark_agreement(marks, [*answers[: LEAST_REPEATED - 1], *alone]) is None
