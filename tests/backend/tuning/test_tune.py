"""The search and its honest figure: what is found, what no search has seen, what a kill and a second process leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from nextlabel.backend.tuning import study
from nextlabel.backend.tuning.nested import Plan, Stage, Tuned, study_file, tune
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from tests.backend.tuning.made import USUAL, Made, examples, made

PLAN = Plan(trials=8, outer=3, inner=3)


def trials(found: Tuned) -> list[float | None]:
    return [one.settings["strength"] for one in found.final.trials]


def test_better_settings_are_found_and_said_to_be_better(tmp_path: Path) -> None:
    found = tune(examples(300), made(tmp_path), replace(PLAN, trials=12))
    assert trials(found)[0] is None, "the first trial is the defaults"
    assert found.final.settings["strength"] > USUAL
    assert found.better
    assert found.difference.low > 0
    assert found.verdict.startswith("better than the defaults: macro-F1 +")
    assert found.recipe["strength"] == found.final.settings["strength"]
    assert [one.rows for one in found.outer] == [100, 100, 100]
    assert all(one.trials == 12 for one in found.outer)


def test_what_is_no_better_is_said_to_be_none(tmp_path: Path) -> None:
    found = tune(examples(), made(tmp_path, 0.3, 0.5), PLAN)
    assert found.final.settings["strength"] is None
    assert (found.difference.mean, found.better) == (0.0, False)
    assert found.verdict.startswith("not better than the defaults")
    assert found.to_json()["better"] is False


def test_trials_that_do_worse_are_ended_early(tmp_path: Path) -> None:
    space = made(tmp_path)
    found = tune(examples(), space, replace(PLAN, trials=15))
    pruned = [one for one in found.final.trials if one.pruned]
    assert pruned
    assert min(one.score for one in found.final.trials if not one.pruned) <= found.final.score
    others = tune(examples(), made(tmp_path / "none"), replace(PLAN, trials=15, pruning="none"))
    assert not any(one.pruned for one in others.final.trials)


def test_hyperband_prunes_by_fold_too(tmp_path: Path) -> None:
    found = tune(examples(), made(tmp_path), replace(PLAN, trials=15, pruning="hyperband"))
    assert any(one.pruned for one in found.final.trials)


def test_no_search_has_seen_its_outer_fold_nor_a_part_of_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[frozenset[Readable]] = []
    run = study.run_study

    def noted(name, train, *rest):
        searched.append(frozenset(train.texts))
        return run(name, train, *rest)

    monkeypatch.setattr("nextlabel.backend.tuning.nested.run_study", noted)
    given, space = examples(120, groups=15), made(tmp_path)
    tune(given, space, PLAN)
    assert given.groups is not None
    group = dict(zip(given.texts, given.groups.tolist(), strict=True))
    *outer, whole = searched
    assert whole == set(given.texts)
    held = [whole - one for one in outer]
    assert sorted(str(text) for part in held for text in part) == sorted(map(str, whole))

    def groups(texts: Iterable[Readable]) -> set[int]:
        return {group[str(text)] for text in texts}

    for part, rest in zip(held, outer, strict=True):
        assert not groups(part) & groups(rest)
    for fitted in space.fitted:
        assert not groups(fitted) & groups(whole - fitted), "inner folds keep groups whole, too"


def test_a_run_goes_on_with_what_is_there(tmp_path: Path) -> None:
    tune(examples(), made(tmp_path), replace(PLAN, trials=4))
    space, stages = made(tmp_path), list[Stage]()
    found = tune(examples(), space, replace(PLAN, trials=6), on_stage=stages.append)
    assert stages[0].trials == 4
    assert len(found.final.trials) == 6
    again = made(tmp_path)
    same = tune(examples(), again, replace(PLAN, trials=6))
    assert again.fitted == [], "nothing is left to be done"
    assert (same.final.settings, same.outer, same.tuned) == (found.final.settings, found.outer, found.tuned)


def test_a_search_that_was_killed_in_a_trial_goes_on(tmp_path: Path) -> None:
    count = [0]

    def ends(right: float) -> None:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(examples(), made(tmp_path, before=ends), PLAN)
    found = tune(examples(), made(tmp_path), PLAN)
    assert all(one.trials == PLAN.trials for one in found.outer)
    assert found.whole


def test_without_time_only_the_defaults_are_tried_and_that_is_told(tmp_path: Path) -> None:
    found = tune(examples(), made(tmp_path), replace(PLAN, minutes=1e-9))
    assert trials(found) == [None]
    assert not found.whole
    assert not found.better
    assert tune(examples(), made(tmp_path), PLAN).whole, "and the next run goes on"


def test_settings_that_fail_are_left_out_and_where_all_do_it_says_why(tmp_path: Path) -> None:
    def diverges(right: float) -> None:
        if right > USUAL:
            raise LearningError("the loss was not finite")

    found = tune(examples(), made(tmp_path, before=diverges), PLAN)
    assert found.final.settings["strength"] is None or found.final.settings["strength"] <= USUAL
    assert any(one.problem == "the loss was not finite" for one in found.final.trials)

    def fails(right: float) -> None:
        raise LearningError("no memory for it")

    with pytest.raises(LearningError, match="no settings could be tried: no memory for it"):
        tune(examples(), made(tmp_path / "other", before=fails), PLAN)


def test_a_space_of_one_point_and_texts_too_few_are_refused(tmp_path: Path) -> None:
    fixed = Made("probe", {name: one for name, one in made(tmp_path).tried.items() if name != "strength"}, tmp_path)
    with pytest.raises(LearningError, match="nothing to search"):
        tune(examples(), fixed, PLAN)
    with pytest.raises(LearningError, match="one group"):
        tune(examples(20, groups=1), made(tmp_path), PLAN)


def test_other_texts_or_another_plan_are_another_study(tmp_path: Path) -> None:
    space = made(tmp_path)
    same = study_file(examples(), space, PLAN)
    assert study_file(examples(), space, replace(PLAN, trials=99, minutes=1.0)) == same
    others = [study_file(examples(119), space, PLAN), study_file(examples(), space, replace(PLAN, seed=1))]
    assert len({same, *others, study_file(examples(120, groups=15), space, PLAN)}) == 4


def test_a_journal_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    file.write_text("this is no journal\nof optuna\n")
    with pytest.raises(LearningError, match="name another file with --study"):
        tune(examples(), made(tmp_path), replace(PLAN, study=file))
