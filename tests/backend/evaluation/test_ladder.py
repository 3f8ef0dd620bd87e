"""The ladder: a dearer rung has to earn its place on texts that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.evaluation.ladder import LadderReport, climb, make_rung, make_splits, row_scores
from nextlabel.backend.training.spec import EpochFigures, ProgressReport, RungName, TrainingSpec
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError


@dataclass
class Guesses:
    """Says the last figure of a text plus an error, right for a given share of texts; no two rungs err alike."""

    name: str
    right: float
    seed: int = 0
    cost: float = 0.0
    clock: list[float] = field(default_factory=lambda: [0.0])
    trained: list[set[Readable]] = field(default_factory=list)
    tested: list[set[Readable]] = field(default_factory=list)
    rung: RungName = "probe"
    history: tuple[EpochFigures, ...] = ()

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Guesses:
        self.trained.append(set(train.texts))
        self.clock[0] += self.cost
        return self

    def predict_proba(self, texts: Sequence[Readable]) -> np.ndarray:
        self.tested.append(set(texts))
        out = np.zeros((len(texts), 2), np.float32)
        for row, text in enumerate(texts):
            number = int(text_of(text).split()[1])
            wrong = np.random.default_rng([self.seed, number]).uniform() > self.right
            out[row, (number % 2) ^ wrong] = 1
        return out


@dataclass
class Broken:
    name: str = "broken"

    def fit(self, train: Examples, report: ProgressReport | None = None, *, keep: Path | None = None) -> Guesses:
        raise LearningError("no memory for it")


def examples(count: int, start: int = 0, groups: np.ndarray | None = None) -> Examples:
    numbers = np.arange(start, start + count)
    return Examples(tuple(f"text {n}" for n in numbers), numbers % 2, ("even", "odd"), groups=groups)


def run(*rungs: object, count: int = 200, **options: object) -> LadderReport:
    return climb(examples(count), rungs, np.random.default_rng(0), **options)  # type: ignore[arg-type]


def test_a_rung_that_is_much_better_is_climbed():
    found = run(Guesses("cheap", 0.7), Guesses("dear", 0.95, seed=1))
    assert found.chosen == "dear"
    low, high = (one.score for one in found.rungs)
    assert found.rungs[1].gain == pytest.approx(high - low)
    assert found.rungs[1].gain > found.rungs[1].gain_error > 0


def test_with_as_many_right_the_cheaper_rung_stays():
    found = run(Guesses("cheap", 0.8), Guesses("dear", 0.8))
    assert found.rungs[1].gain == 0
    assert found.chosen == "cheap"


def test_a_rung_with_more_right_is_climbed_and_how_sure_that_is_is_told():
    found = [run(Guesses("cheap", 0.8, seed), Guesses("dear", 0.85, seed + 1000)) for seed in range(100)]
    assert all((one.chosen == "dear") == (one.rungs[1].gain > 0) for one in found)
    assert sum(one.chosen == "dear" for one in found) > 75
    # The standard error is widened for shared training texts, so it is not too small for the gains that there are.
    assert np.std([one.rungs[1].gain for one in found]) < np.mean([one.rungs[1].gain_error for one in found])


def test_a_worse_rung_in_between_is_stepped_over():
    found = run(Guesses("cheap", 0.7), Guesses("middle", 0.6, seed=1), Guesses("dear", 0.9, seed=2))
    assert found.chosen == "dear"
    assert "over cheap" in found.rungs[2].reason


def test_nobody_is_tested_on_what_he_has_learned_from():
    rung, audit = Guesses("one", 0.8), examples(40, start=1000)
    run(rung, count=100, audit=audit)
    assert len(rung.tested) == 6
    assert all(not trained & tested for trained, tested in zip(rung.trained, rung.tested, strict=True))
    assert rung.tested[0] == set(audit.texts)
    assert all(not trained & set(audit.texts) for trained in rung.trained)
    assert set().union(*rung.tested[1:]) == set(examples(100).texts)


def test_groups_are_never_split():
    groups = np.repeat(np.arange(20), 10)
    for split in make_splits(examples(200, groups=groups), np.random.default_rng(0)):
        assert split.train.groups is not None
        assert split.test.groups is not None
        assert not set(split.train.groups) & set(split.test.groups)


def test_texts_of_one_group_count_as_one():
    alone = climb(examples(200), [Guesses("one", 0.8)], np.random.default_rng(0)).rungs[0]
    grouped = examples(200, groups=np.repeat(np.arange(20), 10))
    together = climb(grouped, [Guesses("one", 0.8)], np.random.default_rng(0)).rungs[0]
    assert together.score == pytest.approx(alone.score)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_rung_that_could_not_show_its_worth_is_not_even_tried():
    dear = Guesses("dear", 1.0, seed=1)
    found = run(Guesses("cheap", 0.995), dear)
    assert not dear.trained
    assert found.chosen == "cheap"
    assert "not even a perfect rung" in found.rungs[1].reason


def test_too_few_labels_to_hold_any_out_take_the_cheapest():
    lonely = Examples(("a 0", "b 1", "c 3"), np.array([0, 1, 1]), ("even", "odd"))
    found = climb(lonely, [Guesses("cheap", 0.5), Guesses("dear", 1.0)], np.random.default_rng(0))
    assert found.chosen == "cheap"
    assert all("nothing can be held out" in one.reason for one in found.rungs)


def test_an_audit_slice_alone_is_enough_to_tell():
    lonely = Examples(("a 0", "b 1", "c 3"), np.array([0, 1, 1]), ("even", "odd"))
    rungs = [Guesses("cheap", 0.5), Guesses("dear", 1.0)]
    assert climb(lonely, rungs, np.random.default_rng(0), audit=examples(60)).chosen == "dear"


def test_a_rung_without_time_is_compared_on_the_splits_it_had(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr("nextlabel.backend.evaluation.ladder.time.monotonic", lambda: clock[0])
    slow = Guesses("slow", 0.95, seed=1, cost=40, clock=clock)
    found = run(Guesses("cheap", 0.7), slow, budget_s=100)
    assert len(slow.trained) == 2  # a third would end after 120 seconds
    assert (found.rungs[1].splits, found.rungs[1].rows, found.rungs[1].seconds) == (2, 80, 80)
    assert "time for 2 of 5 splits" in found.rungs[1].reason


def test_a_rung_that_fails_is_left_out_and_says_why():
    found = run(Guesses("cheap", 0.7), Broken(), Guesses("dear", 0.95, seed=1))
    assert found.chosen == "dear"
    assert found.rungs[1].reason == "skipped: failed: no memory for it"


def test_the_report_is_readable_by_people_and_programs():
    found = run(Guesses("cheap", 0.7), Broken(), Guesses("dear", 0.95, seed=1))
    text = str(found)
    assert text.splitlines()[-1] == "from 200 labels: dear"
    assert "dear     *" in text
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["chosen"] == "dear"
    assert told["rungs"][1]["score"] is None


def test_several_labels_are_scored_by_what_was_found_and_what_was_right():
    targets = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]], bool)
    said = np.array([[0.9, 0.1, 0.0], [0.1, 0.1, 0.1], [0.9, 0.0, 0.0], [0.9, 0.9, 0.9]], np.float32)
    np.testing.assert_allclose(row_scores(said, targets), [2 / 3, 1, 0, 0.5])


def test_no_rungs_no_ladder():
    with pytest.raises(LearningError, match="at least one rung"):
        run()


def test_auto_fits_what_the_ladder_has_chosen(tmp_path: Path):
    # The names tell nothing, so the probe beats zero-shot; hashed words have no rung above.
    texts = [f"{word} number {n}" for n in range(30) for word in ("apple", "pear")]
    taught = Examples(tuple(texts), np.arange(60) % 2, ("x", "y"))
    fitted = make_rung("auto", "hashing", TrainingSpec(), cache_dir=tmp_path).fit(taught)
    assert fitted.predict_proba(["an apple", "a pear"]).argmax(axis=1).tolist() == [0, 1]


def test_auto_climbs_no_higher_than_the_recipe_says(tmp_path: Path):
    texts = [f"{word} number {n}" for n in range(30) for word in ("apple", "pear")]
    taught = Examples(tuple(texts), np.arange(60) % 2, ("x", "y"))
    held = make_rung("auto", "hashing", TrainingSpec(rung="zero-shot"), cache_dir=tmp_path).fit(taught)
    without = make_rung("zero-shot", "hashing", TrainingSpec(), cache_dir=tmp_path).fit(taught)
    np.testing.assert_array_equal(held.predict_proba(texts), without.predict_proba(texts))
