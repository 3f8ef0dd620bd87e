"""One curve: what the seed decides, what a strategy may see, and what noise touches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.models.probe import Probe
from nextlabel.backend.selection import Pool, Random
from nextlabel.backend.simulation import Material, Plan, replay
from nextlabel.backend.simulation.arms import FULL
from nextlabel.backend.simulation.plan import Target
from nextlabel.backend.simulation.replay import Curve, deal
from nextlabel.connectors.errors import ConfigError, LearningError, SelectionError

from .made import clusters
from .strategies import Twice, registered

PLAN = Plan(budget=30, batch=15, metric="accuracy")


def test_the_same_seed_gives_the_same_curve_and_another_one_another() -> None:
    material = clusters()
    first, again, other = (replay(material, PLAN, "margin", seed) for seed in (0, 0, 1))
    assert first.scores == again.scores != other.scores
    assert first.labels == (0, 15, 30)


def test_all_strategies_of_a_seed_begin_alike() -> None:
    """A cold start is the same for all, and so are labels to start with, the test records and everybody's answers."""
    material = clusters()
    for plan in (PLAN, replace(PLAN, start=10)):
        begun = {replay(material, plan, name, 3).scores[0] for name in ("random", "margin", "badge", "representative")}
        assert len(begun) == 1


def test_the_first_score_is_that_of_the_cold_start() -> None:
    material = clusters()
    dealt = deal(material, PLAN, 0)
    nothing = np.empty((0, material.vectors.shape[1]), np.float32)
    cold = Probe.fit(nothing, np.empty(0, np.int64), material.classes, anchors=material.anchors)
    predicted = cold.predict_proba(material.vectors[dealt.test]).argmax(axis=1)
    assert replay(material, PLAN, "random", 0).scores[0] == (predicted == material.truth[dealt.test]).mean()


def test_nothing_tested_on_is_ever_shown_to_a_strategy_or_learned() -> None:
    material = clusters()
    seen: list[bytes] = []

    class Watching(Random):
        def query(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
            assert pool.vectors is not None
            seen.extend(row.tobytes() for row in pool.vectors.take(np.arange(len(pool))))
            return super().query(pool, k, rng)

    with registered(watching=Watching):
        replay(material, PLAN, "watching", 0)
    dealt = deal(material, PLAN, 0)
    assert not set(seen) & {row.tobytes() for row in material.vectors[dealt.test]}
    assert set(dealt.pool) | set(dealt.test) == set(range(len(material)))
    assert len(dealt.test) == pytest.approx(len(material) / 4, abs=5)


def test_noise_flips_answers_and_never_what_is_tested() -> None:
    """Given to all is the right answer but for the share of noise; a model of flipped answers is still told right."""
    material = clusters(n=2_000)
    clean, noisy = (deal(material, replace(PLAN, noise=noise), 0) for noise in (0.0, 0.3))
    assert (clean.answers[:, 0] == material.truth).all()
    assert (noisy.answers[:, 0] != material.truth).mean() == pytest.approx(0.3, abs=0.03)
    assert (clean.test == noisy.test).all()
    swapped = replace(clusters(classes=2, spread=0.1), answers=1 - clusters(classes=2, spread=0.1).answers)
    assert replay(swapped, PLAN, "random", 0).scores[-1] < 0.1, "tested against the truth, not against the answers"


def test_noise_with_several_labels_adds_or_takes_away_one() -> None:
    truth = np.zeros((1_000, 3), np.bool_)
    base = clusters(n=1_000, classes=3)
    material = replace(base, truth=truth, answers=truth[:, None])
    given = deal(material, replace(PLAN, noise=0.2), 0).answers[:, 0]
    assert set(given.sum(axis=1).tolist()) == {0, 1}
    assert given.any(axis=1).mean() == pytest.approx(0.2, abs=0.04)
    assert len(replay(material, PLAN, "margin", 0).scores) == 3


def test_an_answer_is_one_annotators_in_proportion() -> None:
    base = clusters(n=3_000, classes=2)
    answers = np.column_stack([base.truth, base.truth, 1 - base.truth, np.full(3_000, -1)])
    given = deal(replace(base, answers=answers), PLAN, 0).answers[:, 0]
    assert (given == base.truth).mean() == pytest.approx(2 / 3, abs=0.03)


def test_groups_stay_whole_and_copies_of_a_split_are_fixed() -> None:
    base = clusters(n=300)
    groups = np.repeat(np.arange(30), 10)
    dealt = deal(replace(base, groups=groups), PLAN, 0)
    assert not set(groups[dealt.pool]) & set(groups[dealt.test])
    tested = np.arange(300) % 3 == 0
    for seed in (0, 1):
        assert (deal(replace(base, tested=tested), PLAN, seed).test == np.flatnonzero(tested)).all()


def test_one_huge_group_is_chosen_from_and_never_tested_on() -> None:
    groups = np.array([0] * 250 + list(range(1, 51)))
    for seed in range(5):
        assert len(deal(replace(clusters(n=300), groups=groups), PLAN, seed).test) <= 100


def test_all_labels_are_learned_from_once() -> None:
    material = clusters(spread=0.2)
    curve = replay(material, PLAN, FULL, 0)
    assert curve.labels == (150,)
    assert curve.scores[0] > 0.95


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": 400}, "there are 150 records"),
        ({"budget": 10, "start": 10}, "nothing is left to choose"),
        ({"batch": 0}, "batch is 0"),
        ({"noise": 1.0}, "noise is 1.0"),
        ({"test_share": 1.5}, "test share is 1.5"),
        ({"metric": "luck"}, "metric 'luck' is unknown"),
    ],
)
def test_settings_that_cannot_be(settings: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        deal(clusters(), Plan(**settings), 0)


def test_one_group_only() -> None:
    with pytest.raises(ConfigError, match="all records are of one group"):
        deal(replace(clusters(), groups=np.zeros(200, np.int64)), PLAN, 0)


def test_a_strategy_that_asks_for_a_record_twice_is_named() -> None:
    with registered(twice=Twice), pytest.raises(SelectionError, match="strategy twice was asked for 15 of 150"):
        replay(clusters(), PLAN, "twice", 0)


def test_shapes_that_do_not_fit() -> None:
    base = clusters()
    wrong: list[dict[str, Any]] = [{"truth": base.truth[1:]}, {"answers": base.truth}, {"groups": base.truth[1:]}]
    for broken in wrong:
        with pytest.raises(LearningError):
            replace(base, **broken)
    with pytest.raises(LearningError, match="without any answer"):
        replace(base, answers=np.full((200, 2), -1))


def test_a_target_is_a_score_or_a_share() -> None:
    assert Target.parse("0.9").of([0.5, 0.6]) == [0.9, 0.9]
    assert Target.parse(" 90 %").of([0.5, 1.0]) == [0.45, 0.9]
    for wrong in ("", "many", "0", "190%", "-1", "nan"):
        with pytest.raises(ConfigError, match="target"):
            Target.parse(wrong)


def test_a_curve_survives_as_text() -> None:
    curve = Curve("margin", 3, (0, 10), (0.25, 0.75), 1.5)
    assert Curve.from_json(curve.to_json()) == curve
    for broken in ("", "{}", '{"labels": [1], "scores": []}', "[]"):
        with pytest.raises(ValueError):
            Curve.from_json(broken)


def test_material_comes_back_from_its_folder(tmp_path) -> None:
    material = replace(clusters(), groups=np.arange(200))
    material.save(tmp_path)
    back = Material.load(tmp_path)
    assert back.digest == material.digest != clusters(seed=1).digest
    assert isinstance(back.vectors, np.memmap)
    assert replay(back, PLAN, "margin", 0).scores == replay(material, PLAN, "margin", 0).scores
