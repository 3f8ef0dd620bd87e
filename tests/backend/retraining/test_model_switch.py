"""From model to model, tick by tick: every state that is entered is left again."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.models.registry import CHOSEN_SPACE
from nextlabel.backend.questions import question_of
from nextlabel.backend.retraining import model_switch
from nextlabel.backend.retraining.candidates import TrainingSetup
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpaces
from nextlabel.backend.retraining.model_switch import ModelSwitch
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from tests.backend.retraining.steps import LABELING, Loop, add_model, spaces_in

MODELS = ("fine-tune-1", "fine-tune-2", "few-shot-1")


@pytest.fixture
def spaces(tmp_path: Path) -> EmbeddingSpaces:
    for version in MODELS:
        add_model(tmp_path / "models", version)
    return spaces_in(tmp_path)


@pytest.fixture
def loop(spaces: EmbeddingSpaces) -> Loop:
    return Loop(spaces(OWN))


@pytest.fixture
def switch(
    store: Store, loop: Loop, spaces: EmbeddingSpaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModelSwitch:
    monkeypatch.setattr(model_switch, "RETRY_S", 0.0)
    folders = (tmp_path / "training", tmp_path / "models")
    setup = TrainingSetup("animals", question_of(LABELING), EncoderSpec("hashing"), TrainingSpec(), *folders)
    return ModelSwitch(store, loop, spaces, setup, tmp_path / "embedding")  # type: ignore[arg-type]


def choose(store: Store, version: str) -> None:
    store.set_meta(CHOSEN_SPACE, version)


def test_ten_moves_end_where_they_should_and_leave_nothing_behind(
    switch: ModelSwitch, store: Store, loop: Loop, spaces: EmbeddingSpaces
) -> None:
    for version in [*MODELS, OWN, *MODELS[::-1], OWN, MODELS[1], OWN]:
        left = weakref.ref(loop.space.encoder)
        choose(store, version)
        assert switch.tick(), "it goes on: the loop is told"
        assert (switch.target, switch.error) == (version, "")
        loop.go()
        assert not switch.tick(), "it has arrived"
        assert (switch.target, switch.error, loop.space.version) == (None, "", version)
        assert set(spaces._open) <= {OWN, version}
        gc.collect()
        assert (left() is None) == (left() is not spaces(OWN).encoder), "an encoder that was left is still in memory"
        assert not switch.tick()


def test_a_target_that_is_given_up_is_let_go(
    switch: ModelSwitch, store: Store, loop: Loop, spaces: EmbeddingSpaces
) -> None:
    choose(store, MODELS[0])
    assert switch.tick()
    opened = weakref.ref(spaces(MODELS[0]).encoder)
    choose(store, MODELS[1])  # before the loop has moved
    assert switch.tick()
    loop.go()
    assert not switch.tick()
    assert loop.space.version == MODELS[1]
    gc.collect()
    assert opened() is None


def test_chosen_back_after_the_loop_was_told_it_comes_back(switch: ModelSwitch, store: Store, loop: Loop) -> None:
    choose(store, MODELS[0])
    assert switch.tick()
    choose(store, OWN)
    assert not switch.tick()
    loop.go()  # it had heard already
    assert switch.tick()
    loop.go()
    assert not switch.tick()
    assert loop.space.version == OWN


def test_a_loop_that_cannot_move_is_told_again_and_the_reason_shows(
    switch: ModelSwitch, store: Store, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_switch, "RETRY_S", 60.0)
    choose(store, MODELS[0])
    loop.refusal = "the weights are damaged"
    for _ in range(3):
        switch._not_before = 0.0  # a minute has passed
        assert switch.tick()
        loop.go()
        assert not switch.tick(), "until it is told again, others may work"
        assert switch.error == f"the records can't be encoded for {MODELS[0]}: the weights are damaged"
    choose(store, OWN)
    assert not switch.tick()
    assert (switch.target, switch.error) == (None, "")
    choose(store, MODELS[0])
    loop.refusal = ""
    switch.tick()
    loop.go()
    assert not switch.tick()
    assert loop.space.version == MODELS[0]


def test_a_model_that_cannot_be_opened_keeps_no_training_waiting(
    switch: ModelSwitch, store: Store, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_switch, "RETRY_S", 60.0)
    shutil.rmtree(tmp_path / "models" / MODELS[0])
    choose(store, MODELS[0])
    assert not switch.tick(), "until it is tried again, others may work"
    assert "nextlabel models list" in switch.error
    choose(store, MODELS[1])
    assert switch.tick()
    loop.go()
    assert not switch.tick()
    assert switch.error == ""


def test_cancelled_it_stays_and_the_next_choice_counts(
    switch: ModelSwitch, store: Store, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(model_switch, "FEW", -1)  # a process has to encode the records
        slow.setattr(switch, "_start", lambda target, space: None)
        choose(store, MODELS[0])
        assert switch.tick()
        assert switch.cancel()
        assert not switch.tick()
    assert (switch.target, store.get_meta(CHOSEN_SPACE), loop.space.version) == (None, OWN, OWN)
    assert not switch.cancel()
    choose(store, MODELS[0])
    assert switch.tick()
    loop.go()
    assert not switch.tick()
    assert loop.space.version == MODELS[0]


def test_what_is_still_missing_once_all_was_encoded_holds_up_nothing(
    switch: ModelSwitch, store: Store, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures can't be read: they are tried again, and the loop moves without them."""
    started: list[object] = []

    class Done:
        killed, error = False, ""

        @staticmethod
        def start(*job: object) -> type[Done]:
            started.append(job)
            return Done

        @staticmethod
        def poll() -> str:
            return "done"

    monkeypatch.setattr(model_switch, "TrainingProcess", Done)
    monkeypatch.setattr(model_switch, "FEW", -1)  # something is missing, always
    choose(store, MODELS[0])
    assert switch.tick()
    assert len(started) == 1
    assert switch.tick()
    loop.go()
    assert not switch.tick()
    assert (loop.space.version, len(started), switch.error) == (MODELS[0], 1, "")
