"""Learning curves: what each share may hold, what comes of the points, and when more labels are said to help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.evaluation import confidence_interval, cross_validate, hold_out
from nextlabel.backend.evaluation.comparison import Difference, paired_bootstrap
from nextlabel.backend.evaluation.crossvalidation import Fit, FoldDone
from nextlabel.backend.evaluation.curve import SHARES, LearningCurve, learn_on_shares, learning_curve, nested_shares
from nextlabel.backend.metrics import FIGURES
from nextlabel.backend.models.calibration import Classifier
from nextlabel.connectors.content import Readable, text_of


@dataclass
class Reader:
    """Right about a text once it has read ``needs(number)`` texts; then, and else, always equally sure."""

    needs: Callable[[int], float]
    dies_at: int = 0
    seen: list[Examples] = field(default_factory=list)

    def __call__(self, train: Examples) -> Reader.Fitted:
        self.seen.append(train)
        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        return self.Fitted(self, train)

    @dataclass
    class Fitted:
        reader: Reader
        train: Examples

        def predict_proba(self, texts: Sequence[Readable]) -> np.ndarray:
            numbers = [int(text_of(text).split()[1]) for text in texts]
            known = np.array([len(self.train) >= self.reader.needs(number) for number in numbers])
            said = np.where(known, [number % 2 for number in numbers], [1 - number % 2 for number in numbers])
            return np.eye(2, dtype=np.float32)[said] * 0.8 + 0.1

    def named(self, seed: int) -> tuple[Fit, str]:
        return self, f"reader {seed}"


def examples(rows: int = 400, copies: int = 1, groups: np.ndarray | None = None) -> Examples:
    numbers = np.repeat(np.arange(rows), copies)
    texts = tuple(f"text {number}" for number in numbers)
    return Examples(texts, numbers % 2, ("even", "odd"), groups=groups)


def harder(number: int) -> float:
    """A quarter of the texts is known after each doubling: 40, 80, 160 and 320."""
    return 40.0 * 2 ** (number // 2 % 4)


def test_shares_are_nested_doublings_with_every_label_in_its_proportion():
    train = examples(320)
    shares = nested_shares(train, [0])
    assert list(shares) == list(SHARES)
    assert [len(one) for one in shares.values()] == [20, 40, 80, 160, 320]
    for smaller, larger in pairwise(shares.values()):
        assert set(smaller.texts) < set(larger.texts)
    assert all(abs(int(one.targets.sum()) - len(one) // 2) <= 1 for one in shares.values())
    assert set(nested_shares(train, [1])[0.5].texts) != set(shares[0.5].texts)


@pytest.mark.parametrize("copies", [1, 3])
def test_groups_and_copies_are_in_a_share_whole_or_not_at_all(copies: int):
    groups = None if copies > 1 else np.arange(400) // 7
    train = examples(copies=copies, groups=groups)
    units = np.array(train.texts) if groups is None else groups
    for one in nested_shares(train, [0]).values():
        inside = np.isin(units, list(map(text_of, one.texts)) if one.groups is None else np.unique(one.groups))
        assert inside.sum() == len(one)
    split = nested_shares(train, [0], random=True)[0.5]
    inside = np.isin(units, list(map(text_of, split.texts)) if split.groups is None else np.unique(split.groups))
    assert inside.sum() > len(split)


def test_the_largest_groups_are_not_all_in_the_smallest_share():
    # One user wrote half of the texts: dealt by size, he would always be in the first share.
    groups = np.where(np.arange(400) < 200, 0, np.arange(400))
    firsts = [len(nested_shares(examples(groups=groups), [seed])[1 / 16]) for seed in range(20)]
    assert sum(size > 100 for size in firsts) < 10


def test_each_point_holds_what_the_share_is_worth_and_the_last_is_the_evaluation():
    whole = cross_validate(examples(), reader := Reader(harder))
    grown = learn_on_shares(whole, reader.named)
    assert [(one.share, one.labels) for one in grown] == [
        (1 / 16, 20),
        (1 / 8, 40),
        (1 / 4, 80),
        (1 / 2, 160),
        (1, 320),
    ]
    assert grown[-1].found is whole
    assert len(reader.seen) == 5 * 5
    curve = learning_curve(grown, resamples=200)
    assert curve is not None
    assert [one.accuracy.mean for one in curve.points] == [0, 0.25, 0.5, 0.75, 1]
    expected = confidence_interval(FIGURES["macro_f1"], whole.predicted, whole.examples.targets)
    assert curve.points[-1].macro_f1 == expected
    assert all(one.macro_f1.low <= one.macro_f1.mean <= one.macro_f1.high for one in curve.points)


def test_nobody_is_tested_on_what_a_share_holds():
    groups = np.arange(400) // 4
    whole = cross_validate(examples(groups=groups), Reader(harder))
    seen: list[tuple[Examples, tuple[Readable, ...]]] = []

    def fit(train: Examples) -> Classifier:
        fitted = Reader(harder).Fitted(Reader(harder), train)

        class Watched:
            def predict_proba(self, texts: Sequence[Readable]) -> np.ndarray:
                seen.append((train, tuple(texts)))
                return fitted.predict_proba(texts)

        return Watched()

    learn_on_shares(whole, lambda seed: (fit, ""))
    assert len(seen) == 5 * 4
    for train, texts in seen:
        assert train.groups is not None
        tested = groups[[int(text_of(text).split()[1]) for text in texts]]
        assert not set(tested) & set(train.groups)


def test_every_seed_has_shares_and_a_fit_of_its_own():
    whole = cross_validate(examples(), reader := Reader(harder), seeds=(0, 1), folds=4)
    asked: list[int] = []

    def named(seed: int) -> tuple[Fit, str]:
        asked.append(seed)
        return reader, ""

    grown = learn_on_shares(whole, named)
    assert asked == [0, 1]
    assert all([run.seed for run in one.found.runs] == [0, 1] for one in grown)
    halves = [one for one in reader.seen if 140 <= len(one) <= 160]
    assert len({one.texts for one in halves}) == 8


def test_a_fixed_test_set_is_predicted_from_shares_of_its_training_texts():
    made = examples()
    train, test = made.take(range(320)), made.take(range(320, 400))
    whole = hold_out(train, test, reader := Reader(harder))
    grown = learn_on_shares(whole, reader.named, train=train)
    assert [one.labels for one in grown] == [20, 40, 80, 160, 320]
    assert all(set(one.texts) <= set(train.texts) for one in reader.seen)
    assert grown[0].found.examples.texts == test.texts


def test_a_killed_curve_goes_on_and_tells_how_far_it_is(tmp_path: Path):
    whole = cross_validate(examples(), Reader(harder), keep=tmp_path, name="reader 0")
    killed = Reader(harder, dies_at=7)
    with pytest.raises(KeyboardInterrupt):
        learn_on_shares(whole, killed.named, keep=tmp_path)
    told: list[FoldDone] = []
    again = Reader(harder)
    grown = learn_on_shares(whole, again.named, keep=tmp_path, report=told.append)
    assert len(again.seen) == 20 - 6
    assert [one.kept for one in told] == [True] * 6 + [False] * 14
    assert [one.done for one in told] == list(range(1, 21))
    assert {(one.total, one.stage) for one in told} == {(20, "learning curve")}
    fresh = learn_on_shares(whole, again.named)
    assert all((a.found.predicted[0] == b.found.predicted[0]).all() for a, b in zip(grown, fresh, strict=True))


def test_shares_too_small_to_teach_are_left_out():
    found = cross_validate(examples(60), reader := Reader(harder))
    assert [one.labels for one in learn_on_shares(found, reader.named)] == [24, 48]
    few = cross_validate(examples(30), reader)
    (only,) = learn_on_shares(few, reader.named)
    assert only.found is few
    assert learning_curve([only]) is None


def test_a_share_of_one_label_teaches_nothing():
    groups = np.arange(400) % 2 * 200 + np.arange(400) // 2 % 3  # six groups, each of one label
    found = cross_validate(examples(groups=groups), reader := Reader(harder), folds=3)
    learn_on_shares(found, reader.named)
    assert all(len(np.unique(one.targets)) == 2 for one in reader.seen)


def test_few_groups_are_not_halved_more_often_than_they_can_be():
    groups = np.arange(400) // 100
    found = cross_validate(examples(groups=groups), reader := Reader(harder), folds=4)
    grown = learn_on_shares(found, reader.named)
    assert [one.labels for one in grown] == [100, 200, 300]
    two = cross_validate(examples(groups=np.arange(400) // 200), reader, folds=2)
    assert len(learn_on_shares(two, reader.named)) == 1


def test_the_last_step_is_paired():
    whole = cross_validate(examples(), reader := Reader(harder))
    grown = learn_on_shares(whole, reader.named)
    curve = learning_curve(grown, resamples=200)
    assert curve is not None
    half = grown[-2].found
    assert curve.gain == paired_bootstrap(half.predicted, whole.predicted, whole.examples.targets, resamples=200)
    assert curve.more_helps
    assert curve.verdict is not None
    assert curve.verdict.startswith("from 160 to 320 labels, macro-F1 rose by 0.250 (0.2")
    assert curve.verdict.endswith("more labels are likely to help")
    told = curve.to_json()
    assert told["more_labels_help"] is True
    assert told["last_gain"]["mean"] == curve.gain.mean
    assert [one["labels"] for one in told["points"]] == [20, 40, 80, 160, 320]
    assert set(told["points"][0]["macro_f1"]) == {"mean", "low", "high"}


@pytest.mark.parametrize(("low", "high"), [(-0.001, 0.05), (0.0, 0.0), (-0.2, -0.1), (float("nan"), float("nan"))])
def test_nothing_is_said_where_chance_would_explain_the_last_step(low: float, high: float):
    curve = LearningCurve((), Difference((low + high) / 2, low, high, 0.5))
    assert curve.verdict is None
    assert curve.to_json()["more_labels_help"] is None


def test_a_flat_curve_gets_no_verdict():
    found = cross_validate(examples(), reader := Reader(lambda number: 400.0 * (number // 2 % 4 == 0)))
    curve = learning_curve(learn_on_shares(found, reader.named), resamples=200)
    assert curve is not None
    assert {one.accuracy.mean for one in curve.points} == {0.75}
    assert curve.verdict is None
