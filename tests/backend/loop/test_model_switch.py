"""From model to model, tick by tick: every state that is entered is left again."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import pytest

from nextlabel.backend.models.registry import CHOSEN_SPACE
from nextlabel.backend.retraining import model_switch
from nextlabel.backend.retraining.candidates import Tuning
from nextlabel.backend.retraining.embedding_space import OWN, Spaces
from nextlabel.backend.retraining.model_switch import Mover
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from tests.backend.loop.steps import LABELING, Loop, add_model, spaces_in

MODELS = ("fine-tune-1", "fine-tune-2", "few-shot-1")


@pytest.fixture
def spaces(tmp_path: Path) -> Spaces:
    for version in MODELS:
        add_model(tmp_path / "models", version)
    return spaces_in(tmp_path)


@pytest.fixture
def loop(spaces: Spaces) -> Loop:
    return Loop(spaces(OWN))


@pytest.fixture
def mover(store: Store, loop: Loop, spaces: Spaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mover:
    monkeypatch.setattr(model_switch, "RETRY_S", 0.0)
    folders = (tmp_path / "training", tmp_path / "models", tmp_path)
    tuning = Tuning("animals", LABELING, "hashing", "auto", 32, 1, TrainingSpec(), *folders)
    return Mover(store, loop, spaces, tuning, tmp_path / "embedding")  # type: ignore[arg-type]


def choose(store: Store, version: str) -> None:
    store.set_meta(CHOSEN_SPACE, version)


def test_ten_moves_end_where_they_should_and_leave_nothing_behind(
    mover: Mover, store: Store, loop: Loop, spaces: Spaces
) -> None:
    for version in [*MODELS, OWN, *MODELS[::-1], OWN, MODELS[1], OWN]:
        left = weakref.ref(loop.space.encoder)
        choose(store, version)
        assert mover.tick(), "it goes on: the loop is told"
        assert (mover.target, mover.error) == (version, "")
        loop.go()
        assert not mover.tick(), "it has arrived"
        assert (mover.target, mover.error, loop.space.version) == (None, "", version)
        assert set(spaces._open) <= {OWN, version}
        gc.collect()
        assert (left() is None) == (left() is not spaces(OWN).encoder), "an encoder that was left is still in memory"
        assert not mover.tick()


def test_a_target_that_is_given_up_is_let_go(mover: Mover, store: Store, loop: Loop, spaces: Spaces) -> None:
    choose(store, MODELS[0])
    assert mover.tick()
    opened = weakref.ref(spaces(MODELS[0]).encoder)
    choose(store, MODELS[1])  # before the loop has moved
    assert mover.tick()
    loop.go()
    assert not mover.tick()
    assert loop.space.version == MODELS[1]
    gc.collect()
    assert opened() is None


def test_chosen_back_after_the_loop_was_told_it_comes_back(mover: Mover, store: Store, loop: Loop) -> None:
    choose(store, MODELS[0])
    assert mover.tick()
    choose(store, OWN)
    assert not mover.tick()
    loop.go()  # it had heard already
    assert mover.tick()
    loop.go()
    assert not mover.tick()
    assert loop.space.version == OWN


def test_a_loop_that_cannot_move_is_told_again_and_the_reason_shows(
    mover: Mover, store: Store, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_switch, "RETRY_S", 60.0)
    choose(store, MODELS[0])
    loop.refusal = "the weights are damaged"
    for _ in range(3):
        mover._not_before = 0.0  # a minute has passed
        assert mover.tick()
        loop.go()
        assert not mover.tick(), "until it is told again, others may work"
        assert mover.error == f"the records can't be encoded for {MODELS[0]}: the weights are damaged"
    choose(store, OWN)
    assert not mover.tick()
    assert (mover.target, mover.error) == (None, "")
    choose(store, MODELS[0])
    loop.refusal = ""
    mover.tick()
    loop.go()
    assert not mover.tick()
    assert loop.space.version == MODELS[0]


def test_a_model_that_cannot_be_opened_keeps_no_training_waiting(
    mover: Mover, store: Store, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_switch, "RETRY_S", 60.0)
    shutil.rmtree(tmp_path / "models" / MODELS[0])
    choose(store, MODELS[0])
    assert not mover.tick(), "until it is tried again, others may work"
    assert "nextlabel models list" in mover.error
    choose(store, MODELS[1])
    assert mover.tick()
    loop.go()
    assert not mover.tick()
    assert mover.error == ""


def test_cancelled_it_stays_and_the_next_choice_counts(
    mover: Mover, store: Store, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(model_switch, "FEW", -1)  # a process has to encode the records
        slow.setattr(mover, "_start", lambda target, space: None)
        choose(store, MODELS[0])
        assert mover.tick()
        assert mover.cancel()
        assert not mover.tick()
    assert (mover.target, store.get_meta(CHOSEN_SPACE), loop.space.version) == (None, OWN, OWN)
    assert not mover.cancel()
    choose(store, MODELS[0])
    assert mover.tick()
    loop.go()
    assert not mover.tick()
    assert loop.space.version == MODELS[0]
