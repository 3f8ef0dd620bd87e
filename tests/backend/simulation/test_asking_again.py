"""Several people's answers to a record: who is asked next, what that comes to, and which strategies ask again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nextlabel.backend.questions import question_of
from nextlabel.backend.selection import ActiveLab
from nextlabel.backend.simulation import Plan, replay
from nextlabel.backend.simulation.arms import Arm
from nextlabel.backend.simulation.asking import Asking, majority_in_turn, settled
from nextlabel.backend.simulation.data import NO_ANSWER
from nextlabel.backend.simulation.replay import Project, deal
from nextlabel.connectors.errors import ConfigError, LearningError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind
from tests.backend.annotators.crowd import repaired_scores, to_matrix

from .made import answered

PLAN = Plan(budget=130, batch=10, start=80, start_opinions=2, metric="accuracy")


def project(name: str = "activelab/crowdlab", plan: Plan = PLAN, seed: int = 0) -> Project:
    """One that has learned from its first labels."""
    material = answered()
    made = Project(material, plan, Arm.parse(name), deal(material, plan, seed))
    made.learn(plan.start)
    return made


def test_each_question_reveals_one_more_persons_answer_in_its_turn() -> None:
    material = answered()
    dealt = deal(material, PLAN, 0)
    asking = dealt.asking(material, None)
    record = int(np.flatnonzero(asking.most == 4)[0])
    assert dealt.people is not None
    for turn in range(4):
        asking.ask(np.array([record]))
        told = asking.opinions(np.array([record]))
        assert told.label.tolist() == dealt.answers[record, : turn + 1].tolist()
        assert told.annotator.tolist() == dealt.people[record, : turn + 1].tolist()
    assert asking.answered.tolist() == [record]
    with pytest.raises(LearningError, match="more often than there are answers"):
        asking.ask(np.array([record]))


def test_the_seed_draws_the_order_and_the_file_gives_one() -> None:
    material = answered()
    drawn = [deal(material, PLAN, seed).answers for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all()
    assert not (drawn[0] == drawn[2]).all()
    assert (np.sort(drawn[0], axis=1) == np.sort(material.answers, axis=1)).all(), "nobody's answer is lost or doubled"
    given = deal(material, replace(PLAN, order="file"), 1)
    assert (given.answers == material.answers).all()
    assert given.people is not None
    assert (given.people == material.people).all()


def test_the_majority_is_that_of_the_loop_ties_included() -> None:
    labels = ("a", "b", "c")
    question = question_of(Labeling(LabelKind.SINGLE, labels))
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 3, (300, 5))
    given = rng.integers(1, 6, 300)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for row, found in enumerate(majority_in_turn(answers, given, 3)):
        said = [
            Annotation(f"{n}", "1", f"{n}", (labels[label],), AnnotationStatus.SUBMITTED, began + timedelta(hours=n))
            for n, label in enumerate(answers[row, : given[row]])
        ]
        assert question.consensus(said) == (labels[found],)


def test_a_strategy_that_weighs_second_answers_asks_again_and_others_never_do() -> None:
    material = answered()
    records = {name: replay(material, PLAN, name, 0).records for name in ("activelab", "random-relabel", "margin")}
    new = [records["margin"][0] + 10 * rounds for rounds in range(6)]
    assert list(records["margin"]) == new, "one more record for each label"
    for name in ("activelab", "random-relabel"):
        assert records[name][0] == new[0]
        assert records[name][-1] < new[-1], f"{name}: some labels are about records that had one"


def test_one_opinion_at_most_is_a_new_record_each_time() -> None:
    once = replace(PLAN, opinions=1, start_opinions=1)
    assert replay(answered(), once, "activelab", 0).records == replay(answered(), once, "margin", 0).records
    nobody = replace(answered(), people=None)
    plan = replace(PLAN, start_opinions=1)
    assert replay(nobody, plan, "activelab", 0).records == tuple(plan.points()), "who answered is not known"


def test_nobody_is_asked_twice_and_no_record_beyond_its_answers() -> None:
    made, rng = project("random-relabel", replace(PLAN, opinions=3)), np.random.default_rng(0)
    has = (answered().answers != NO_ANSWER).sum(axis=1)
    for _ in range(6):
        made.ask(10, rng)
        made.learn(0)
    assert (made.asking.given <= np.minimum(has, 3)).all()
    assert made.asking.given.max() == 3
    told = made.asking.opinions(made.asking.answered)  # refuses two answers of one person to a record
    assert len(told) == made.asking.given.sum() == 140


def test_a_budget_counts_answers_and_the_start_gives_some_to_each_record() -> None:
    made = project()
    assert made.asking.given.sum() == 80
    assert set(made.asking.given[made.asking.answered].tolist()) == {1, 2}, "one where there is no more"
    curve = replay(answered(), PLAN, "activelab", 0)
    assert curve.labels == (80, 90, 100, 110, 120, 130)
    with pytest.raises(ConfigError, match="there are 150 records to choose from"):
        deal(answered(), Plan(budget=160), 0)
    with pytest.raises(ConfigError, match="the pool has"):
        deal(answered(), Plan(budget=500, start=490, start_opinions=2), 0)


@pytest.mark.parametrize("rounds", [0, 3])
def test_the_scores_of_a_replay_are_those_of_cleanlab(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    """The state: what was asked so far, out-of-fold predictions of it, and the model's predictions of the rest."""
    made, rng = project(), np.random.default_rng(0)
    for _ in range(rounds):
        made.ask(10, rng)
        made.learn(0)
    known, predicted = made.known()
    assert predicted is not None
    pool = made.view(np.concatenate([known, np.setdiff1d(np.arange(200), known)]), predicted)
    opinions = made.asking.opinions(known)
    wide = to_matrix(opinions)
    wide = wide[:, ~np.isnan(wide).all(axis=0)]
    p = pool.probabilities.astype(np.float64)
    theirs = repaired_scores(monkeypatch)(wide, p[: len(known)], p[len(known) :])
    ours = ActiveLab().score(pool)
    assert len(ours) == 200
    np.testing.assert_allclose(ours, 1 - np.concatenate(theirs), atol=1e-6)


def test_what_is_learned_is_the_consensus_of_the_arm() -> None:
    answers = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]])
    people = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    asking = Asking(answers, people, 2)
    asking.ask(np.array([0, 1, 2]))
    nothing = np.zeros((3, 2), np.float32)
    soft = Arm("margin", "majority", True)
    assert settled(soft, asking, nothing, None).tolist() == [0, 0, 1], "single answers are learned as they are"
    asking.ask(np.array([2, 0]))
    asking.ask(np.array([0]))
    assert asking.majority().tolist() == [1, 0, 0], "of a tie, the newest"
    shares = np.array([[1 / 3, 2 / 3], [1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(settled(soft, asking, nothing, None), shares)
    for rule in ("crowdlab", "dawid-skene"):
        found = settled(Arm.parse(f"margin/{rule}-soft"), asking, nothing, None)
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_crowdlab_learns_something_else_than_the_majority() -> None:
    material = answered(right=0.6)
    plain, weighed = (replay(material, PLAN, name, 0) for name in ("random-relabel", "random-relabel/dawid-skene"))
    assert plain.scores != weighed.scores
    assert plain.records[0] == weighed.records[0]


def test_noise_flips_single_answers() -> None:
    material = answered(n=2_000)
    clean, noisy = (deal(material, replace(PLAN, noise=noise), 0).answers for noise in (0.0, 0.3))
    asked = clean != NO_ANSWER
    assert (noisy[~asked] == NO_ANSWER).all()
    assert (noisy[asked] != clean[asked]).mean() == pytest.approx(0.3, abs=0.03)
    assert noisy[asked].min() >= 0


def test_an_arm_is_written_in_short_and_a_wrong_one_is_named() -> None:
    for name in ("margin", "activelab/crowdlab", "activelab/dawid-skene-soft", "random/majority-soft"):
        assert Arm.parse(name).name == name
    assert Arm.parse("margin/majority").name == "margin"
    with pytest.raises(ConfigError, match="there is no consensus 'crowdlap'; write margin/ and one of majority"):
        Arm.parse("margin/crowdlap")
    with pytest.raises(ConfigError, match="did you mean margin"):
        Arm.parse("margn/crowdlab")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"opinions": 0}, "opinions is 0"),
        ({"start_opinions": 0}, "start opinions is 0"),
        ({"opinions": 2, "start_opinions": 3}, "opinions, the most to a record, is 2"),
        ({"order": "age"}, "order 'age' is unknown"),
    ],
)
def test_settings_that_cannot_be(settings: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Plan(**settings)


def test_people_are_those_of_the_answers() -> None:
    material = answered()
    assert material.people is not None
    with pytest.raises(LearningError, match="don't go with people"):
        replace(material, people=material.people[1:])
