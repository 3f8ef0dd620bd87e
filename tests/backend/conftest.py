"""Model folders, a tiny one to spoil, and where ONNX files are made; a loop on a platform in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.encoders import cache
from tests.backend.memory_loop import make_service, platform, records, store
from tests.backend.tiny_bert import letters, tiny_bert

__all__ = ["make_service", "platform", "records", "store"]  # fixtures of memory_loop, for every room


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ONNX files are made, once a session."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, as transformers saves it: exported in a moment."""
    words = letters("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnop")
    return tiny_bert(tmp_path_factory.mktemp("tiny"), words=words, positions=40)


@pytest.fixture(scope="module")
def fresh_lookups() -> Iterator[None]:
    """Caches of embeddings look at their files at every lookup."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "REFRESH_SECONDS", -1)
        yield


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to change."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))
