"""ActiveLab: cleanlab's numbers, on sparse answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.selection import ActiveLab, ArrayVectors, LeastConfidence, Mixture, Pool, choose
from tests.backend.annotators.crowd import numbered, repaired_scores


def answered_pool(
    seed: int, *, answered: int = 60, fresh: int = 40, classes: int = 3, annotators: int = 5, most: int = 3
) -> Pool:
    """The first ``answered`` records have up to ``most`` answers: mostly those that the predictions were made for."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, answered + fresh)
    p = rng.dirichlet(np.ones(classes), len(truth)) + 0.8 * np.eye(classes)[truth]
    records, who, what = [], [], []
    for at in range(answered):
        for one in rng.choice(annotators, rng.integers(1, most + 1), replace=False):
            records.append(at)
            who.append(one)
            what.append(truth[at] if rng.random() < 0.6 + 0.08 * one else rng.integers(classes))
    order = rng.permutation(len(records))
    record, annotator, label = (np.array(column)[order] for column in (records, who, what))
    opinions = numbered(record, annotator, label, len(truth), classes)
    return Pool((p / p.sum(axis=1, keepdims=True)).astype(np.float32), opinions=opinions)


def answers_of(pool: Pool) -> Opinions:
    assert pool.opinions is not None
    return pool.opinions


def matrix(opinions: Opinions, answered: int, answers: np.ndarray | None = None) -> np.ndarray:
    """Answers as cleanlab takes them: [answered, annotators], NaN for none."""
    wide = np.full((answered, len(opinions.annotators)), np.nan)
    wide[opinions.record, opinions.annotator] = opinions.label if answers is None else answers
    return wide[:, ~np.isnan(wide).all(axis=0)]


@pytest.fixture
def cleanlab_scores(monkeypatch: pytest.MonkeyPatch) -> Any:
    return repaired_scores(monkeypatch)


@pytest.mark.filterwarnings("ignore:breaking ties")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_scores_are_those_of_cleanlab(cleanlab_scores: Any, seed: int, classes: int, most: int) -> None:
    pool = answered_pool(seed, classes=classes, most=most)
    p = pool.probabilities.astype(np.float64)
    theirs = cleanlab_scores(matrix(answers_of(pool), 60), p[:60], p[60:])
    assert ActiveLab().score(pool) == pytest.approx(1 - np.concatenate(theirs), abs=1e-5)


def test_an_annotator_who_shares_no_record_weighs_what_the_others_do(cleanlab_scores: Any) -> None:
    pool = answered_pool(1)
    said = answers_of(pool)
    alone = replace(
        pool,
        opinions=numbered(
            np.append(said.record, [60, 61]),
            np.append(said.annotator, [9, 9]),
            np.append(said.label, [0, 1]),
            100,
            3,
        ),
    )
    p = pool.probabilities.astype(np.float64)
    theirs = cleanlab_scores(matrix(answers_of(alone), 62), p[:62], p[62:])
    assert ActiveLab().score(alone) == pytest.approx(1 - np.concatenate(theirs), abs=1e-5)


def test_several_labels_are_as_many_questions_of_yes_and_no(cleanlab_scores: Any) -> None:
    from cleanlab.internal.multilabel_scorer import exponential_moving_average

    rng = np.random.default_rng(0)
    single = answers_of(answered_pool(0))
    answers = rng.random((len(single), 4)) < 0.4
    p = rng.random((100, 4))
    opinions = numbered(single.record, single.annotator, answers, 100, 4)
    quality = []
    for label in range(4):
        both = np.stack([1 - p[:, label], p[:, label]], axis=1)
        wide = matrix(opinions, 60, answers[:, label].astype(float))
        quality.append(np.concatenate(cleanlab_scores(wide, both[:60], both[60:])))
    expected = 1 - exponential_moving_average(np.stack(quality, axis=1), alpha=0.8)
    pool = Pool(p.astype(np.float32), activation=SIGMOID, opinions=opinions)
    assert ActiveLab().score(pool) == pytest.approx(expected, abs=1e-5)


def test_without_answers_it_is_least_confidence() -> None:
    pool = replace(answered_pool(2), opinions=None)
    assert np.argsort(ActiveLab().score(pool)).tolist() == np.argsort(LeastConfidence().score(pool)).tolist()


def test_answers_that_disagree_ask_for_another_and_answers_that_agree_do_not() -> None:
    p = np.full((40, 2), [0.7, 0.3], np.float32)
    p[1::2] = [0.3, 0.7]
    records = np.repeat(np.arange(30), 3)
    annotators = np.tile(np.arange(3), 30)
    answers = p.argmax(axis=1)[records].astype(np.int64)
    answers[0:2] = [0, 1]  # record 0: one of three says otherwise
    scores = ActiveLab().score(Pool(p, opinions=numbered(records, annotators, answers, 40, 2)))
    assert scores[0] > scores[1:30].max() + 0.05
    assert scores[30:].min() > scores[1:30].max(), "what nobody has answered comes before what all agree on"


def test_the_numbers_of_annotators_do_not_matter() -> None:
    pool = answered_pool(3)
    said = answers_of(pool)
    renamed = numbered(said.record, said.annotator * 10 + 3, said.label, said.size, len(said.labels))
    assert ActiveLab().score(replace(pool, opinions=renamed)) == pytest.approx(ActiveLab().score(pool), abs=1e-6)


def test_in_a_mixture_only_its_own_picks_were_answered_before() -> None:
    pool = answered_pool(4, answered=90, fresh=10)
    pool = replace(pool, vectors=ArrayVectors(np.random.default_rng(0).standard_normal((100, 4))))
    own = choose(ActiveLab(), pool, 100, np.random.default_rng(0)).tolist()
    mixed = choose(Mixture({"activelab": 0.5, "random": 0.5}), pool, 20, np.random.default_rng(0))
    answered = [one for one in mixed.tolist() if one < 90]
    assert len(answered) >= 8
    assert answered == [one for one in own if one in answered], "in its own order"
    assert set(range(90, 100)) <= set(mixed.tolist())


def test_answers_about_another_pool_are_refused() -> None:
    p = np.full((2, 2), 0.5, np.float32)
    for size, classes in ((3, 2), (2, 3)):
        with pytest.raises(ValueError, match=rf"about {size} records with {classes} labels .* shape \[2, 2\]"):
            Pool(p, opinions=numbered([0, 1], [0, 0], [0, 1], size, classes))
    with pytest.raises(ValueError, match="several labels"):
        Pool(p, opinions=numbered([0, 1], [0, 0], np.eye(2, dtype=bool), 2, 2))
    with pytest.raises(ValueError, match="several labels"):
        Pool(p, activation=SIGMOID, opinions=numbered([0, 1], [0, 0], [0, 1], 2, 2))


def test_a_part_of_a_pool_keeps_its_own_answers() -> None:
    pool = answered_pool(5)
    part = pool.only(np.array([70, 3, 0]))
    assert part.opinions is not None
    assert (part.opinions.per_record > 0).tolist() == [False, True, True]
    said = answers_of(pool)
    for old, new in ((3, 1), (0, 2)):
        whole = said.record == old
        assert part.opinions.label[part.opinions.record == new].tolist() == said.label[whole].tolist()
    assert part.probabilities.tolist() == pool.probabilities[[70, 3, 0]].tolist()
