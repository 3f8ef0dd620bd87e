"""Choosing a model and going back, on a real store with the rows that the loop writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.registry import CHOSEN_SPACE, ModelStore, choose_version, line_of, roll_back
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LearningError


class Project:
    """A store and its models, filled as the loop fills them."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store, self.models = folder, store, ModelStore(folder / "models")

    def probe(self, number: int, base: str = "") -> str:
        version = f"probe-{number}" + (f"-{base}" if base else "")
        path = self.models.folder / version / "probe.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"p")
        self.store.add_model(version, "probe", number, {}, str(path), base=base)
        self.store.set_current(version)
        return version

    def trained(self, rung: str = "fine-tune", *, live: bool = True) -> str:
        folder = self.folder / "work"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"w")
        card = ModelCard("", "p", rung, "2026", "b", ("x",), SOFTMAX)
        entry = self.models.add(folder, card)
        self.store.add_model(entry.version, rung, 1, {}, str(entry.path))
        if live:
            self.store.set_meta(CHOSEN_SPACE, entry.version)
        return entry.version

    def state(self) -> tuple[str, str]:
        current = self.store.current_model()
        return current.version if current else "", self.store.get_meta(CHOSEN_SPACE) or ""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Store.open(tmp_path / "store.sqlite") as store:
        yield Project(tmp_path, store)


def test_a_trained_model_and_a_probe_are_chosen_with_their_vectors(project: Project) -> None:
    own, trained = project.probe(1), project.trained(live=False)
    on_it = project.probe(2, trained)
    assert line_of(choose_version(project.store, project.models, trained)) == trained
    assert project.state() == (trained, trained)
    choose_version(project.store, project.models, own)
    assert project.state() == (own, "")
    assert choose_version(project.store, project.models, on_it).base == trained
    assert project.state() == (on_it, trained)


def test_what_is_unknown_or_gone_or_damaged_changes_nothing(project: Project) -> None:
    with pytest.raises(LearningError, match="none was trained yet"):
        choose_version(project.store, project.models, "probe-1")
    own, trained = project.probe(1), project.trained()
    on_it, lost = project.probe(2, trained), project.probe(3)
    choose_version(project.store, project.models, own)
    shutil.rmtree(project.models.folder / lost)
    with pytest.raises(LearningError, match="no longer there"):
        choose_version(project.store, project.models, lost)
    with pytest.raises(LearningError, match=f"did you mean {trained}"):
        choose_version(project.store, project.models, "fine-tun-1")
    (project.models.folder / trained / "model.safetensors").write_bytes(b"x")
    for version in (trained, on_it):
        with pytest.raises(LearningError, match="has changed"):
            choose_version(project.store, project.models, version)
    assert project.state() == (own, "")


def test_going_back_leaves_the_trained_model_for_what_was_before(project: Project) -> None:
    first = project.trained()
    project.probe(5, first)
    before = project.probe(6, first)
    project.trained("few-shot", live=False)  # was never used: nothing to go back to
    second = project.trained()
    project.probe(7, second)
    project.probe(8, second)
    assert roll_back(project.store, project.models) == before
    assert project.state() == (before, first)


def test_before_its_first_probe_a_trained_model_can_be_left_too(project: Project) -> None:
    own = project.probe(1)
    project.trained()
    assert roll_back(project.store, project.models) == own
    assert project.state() == (own, "")


def test_the_recipes_encoder_needs_no_probe_to_go_back_to(project: Project) -> None:
    own, trained = project.probe(1), project.trained()
    current = project.probe(2, trained)
    shutil.rmtree(project.models.folder / own)
    assert roll_back(project.store, project.models) == ""
    assert project.state() == (current, ""), "the loop fits a probe in the encoder's own vectors"


def test_a_trained_model_whose_probes_are_gone_is_gone_back_to_itself(project: Project) -> None:
    first = project.trained()
    lost = project.probe(5, first)
    project.probe(6, project.trained())
    shutil.rmtree(project.models.folder / lost)
    assert roll_back(project.store, project.models) == first
    assert project.state() == (first, first)


def test_there_may_be_nothing_to_go_back_to(project: Project) -> None:
    with pytest.raises(LearningError, match="no model is in use"):
        roll_back(project.store, project.models)
    project.probe(1)
    project.probe(2)
    with pytest.raises(LearningError, match="nothing that was in use before"):
        roll_back(project.store, project.models)
    assert project.state()[0] == "probe-2"
