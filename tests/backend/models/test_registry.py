"""The registry of trained models: whole versions or none, whatever fails, and whoever else is at it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.registry import ModelStore
from nextlabel.connectors.errors import LearningError

CARD = ModelCard(
    version="", project="p", rung="fine-tune", created="2026-11-22", base="b", labels=("x",), activation=SOFTMAX
)


def finished(folder: Path, weights: bytes = b"w" * 1000) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def names(models: ModelStore) -> list[str]:
    return [entry.version for entry in models.entries()]


def test_versions_are_numbered_and_found_again(models: ModelStore, tmp_path: Path) -> None:
    assert models.entries() == []
    one = models.add(finished(tmp_path / "a"), CARD)
    few = models.add(finished(tmp_path / "b"), replace(CARD, rung="few-shot", created="2026-11-23"))
    two = models.add(finished(tmp_path / "c", b"other"), replace(CARD, created="2026-11-24", parent="fine-tune-1"))
    assert [one.version, few.version, two.version] == ["fine-tune-1", "few-shot-1", "fine-tune-2"]
    assert not (tmp_path / "a").exists()
    (models.folder / "probe-3").mkdir()
    assert names(models) == ["fine-tune-2", "few-shot-1", "fine-tune-1"]
    found = models.get("fine-tune-2")
    assert found == two
    assert found.card is not None
    assert found.card.parent == "fine-tune-1"
    assert (found.path / "README.md").is_file()


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("fine-tune-2", "did you mean fine-tune-1"),
        ("x", "there are fine-tune-1"),
        ("../models", "no model"),
        ("", "no"),
    ],
)
def test_an_unknown_version_is_refused_with_the_nearest(
    models: ModelStore, tmp_path: Path, version: str, says: str
) -> None:
    with pytest.raises(LearningError, match="none was trained yet"):
        models.get(version)
    models.add(finished(tmp_path / "a"), CARD)
    with pytest.raises(LearningError, match=says):
        models.get(version)


def test_changed_and_missing_files_are_noticed(models: ModelStore, tmp_path: Path) -> None:
    path = models.add(finished(tmp_path / "a"), CARD).path
    weights = path / "model.safetensors"
    (path / "note.txt").write_text("more is no harm")
    models.get("fine-tune-1")
    weights.write_bytes(b"v" + b"w" * 999)
    with pytest.raises(LearningError, match=r"model\.safetensors has changed"):
        models.get("fine-tune-1")
    assert models.get("fine-tune-1", check=False).version == "fine-tune-1"
    weights.unlink()
    with pytest.raises(LearningError, match=r"model\.safetensors is missing"):
        models.get("fine-tune-1")
    (path / "card.json").write_text("{")
    with pytest.raises(LearningError, match="model card"):
        models.get("fine-tune-1")
    [entry] = models.entries()
    assert entry.card is None
    assert "card.json" in entry.problem


def test_what_is_no_finished_model_is_refused_and_stays(models: ModelStore, tmp_path: Path) -> None:
    folder = finished(tmp_path / "a")
    with pytest.raises(LearningError, match="rung"):
        models.add(folder, replace(CARD, rung="probe"))
    with pytest.raises(LearningError, match="no name for a version"):
        models.add(folder, replace(CARD, version="../x"))
    models.add(finished(tmp_path / "b"), replace(CARD, version="fine-tune-7"))
    with pytest.raises(LearningError, match="is taken"):
        models.add(folder, replace(CARD, version="fine-tune-7"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(LearningError, match="holds no model"):
        models.add(folder, CARD)
    assert (folder / "config.json").exists()
    assert models.add(finished(tmp_path / "c"), CARD).version == "fine-tune-8"


def test_pruning_spares_what_is_in_use_and_its_parent_and_numbers_are_never_given_again(
    models: ModelStore, tmp_path: Path
) -> None:
    for day in range(1, 7):
        parent = "fine-tune-1" if day == 3 else ""
        models.add(finished(tmp_path / str(day)), replace(CARD, created=f"2026-11-0{day}", parent=parent))
    assert models.prune(1, {"fine-tune-3"}) == ["fine-tune-5", "fine-tune-4", "fine-tune-2"]
    assert names(models) == ["fine-tune-6", "fine-tune-3", "fine-tune-1"]
    assert models.prune(0, ()) == ["fine-tune-6", "fine-tune-3", "fine-tune-1"]
    assert models.add(finished(tmp_path / "new"), CARD).version == "fine-tune-7"
    with pytest.raises(LearningError):
        models.prune(-1, ())


def test_a_full_disk_leaves_nothing_half_there(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model comes from another file system, and its copy stops in the middle."""
    folder = finished(tmp_path / "a")
    real = Path.rename

    def far(self: Path, target: Any) -> Path:
        if self == folder:
            raise OSError(errno.EXDEV, "another file system")
        return real(self, target)

    def full(source: Path, target: Path, **options: Any) -> None:
        target.mkdir()
        (target / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "rename", far)
    with monkeypatch.context() as patch:
        patch.setattr("nextlabel.backend.models.registry.shutil.copytree", full)
        with pytest.raises(LearningError, match="is full; free some space"):
            models.add(folder, CARD)
    assert models.entries() == []
    assert not list(models.folder.glob(".coming-*"))
    assert (folder / "model.safetensors").exists()
    assert models.add(folder, CARD).version == "fine-tune-1"
    assert not folder.exists()
    models.get("fine-tune-1")


def test_leftovers_of_a_killed_process_are_never_listed_and_swept_up(models: ModelStore, tmp_path: Path) -> None:
    finished(models.folder / ".coming-fine-tune-1")
    finished(models.folder / ".going-fine-tune-9")
    assert models.entries() == []
    models.add(finished(tmp_path / "a"), CARD)
    assert sorted(path.name for path in models.folder.iterdir() if path.is_dir()) == ["fine-tune-1"]


ADDER = """
import sys
from pathlib import Path
from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.registry import ModelStore
card = ModelCard(version="", project="p", rung="fine-tune", created="x", base="b", labels=("x",), activation=SOFTMAX)
for number in range(8):
    folder = Path(sys.argv[2], str(number)); folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}"); (folder / "model.safetensors").write_bytes(sys.argv[3].encode() * 500)
    ModelStore(Path(sys.argv[1])).add(folder, card)
    if number % 3 == 2:
        ModelStore(Path(sys.argv[1])).prune(3, ())
"""


def test_two_processes_at_once_give_every_number_once(models: ModelStore, tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, str(models.folder), str(tmp_path / name), name],
            stderr=subprocess.PIPE,
            env=dict(os.environ),
        )
        for name in "ab"
    ]
    for process in started:
        assert process.communicate(timeout=120)[1] == b""
        assert process.returncode == 0
    found = names(models)
    assert 3 <= len(found) <= 16
    assert "fine-tune-16" in found, "sixteen were added, so sixteen numbers were given"
    for version in found:
        models.get(version)
