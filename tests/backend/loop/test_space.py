"""Another trained model is chosen while the service runs: the loop moves to its vectors, and nobody notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.learning.choosing import CHOSEN_SPACE
from nextlabel.backend.learning.encoders import load_encoder
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training.saving import HEAD_FILE
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Record
from tests.backend.loop.conftest import LABELS, SUBJECTS, ServiceFactory
from tests.backend.loop.platform import MemoryPlatform


def trained(folder: Path, version: str) -> None:
    """The folder of a model whose encoder turns every vector round, and whose head knows the three subjects."""
    (folder / version).mkdir(parents=True)
    vectors = -np.concatenate([load_encoder("hashing").encode([subject]) for subject in SUBJECTS])
    Probe.fit(np.repeat(vectors, 30, axis=0), np.repeat(np.arange(3), 30), 3).save(folder / version / HEAD_FILE)


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_the_loop_moves_and_every_request_is_answered_from_one_space(
    make_service: ServiceFactory, store: Store, platform: MemoryPlatform, tmp_path: Path
) -> None:
    service = make_service()
    service.start()
    wait(lambda: service.status().generation != "")
    trained(tmp_path / "models", "fine-tune-1")
    store.set_meta(CHOSEN_SPACE, "fine-tune-1")
    seen: set[str] = set()

    async def ask() -> None:
        while not any("fine-tune-1" in version for version in seen):
            texts = [Record("", {"text": f"{subject} never seen {len(seen)}"}) for subject in SUBJECTS]
            predictions = await service.classify(texts)
            seen.update(one.suggestion.model_version for one in predictions if one is not None)

    asyncio.run(asyncio.wait_for(ask(), 60))
    labels = asyncio.run(service.classify([Record("", {"text": f"{subject} over there"}) for subject in SUBJECTS]))
    assert [one.suggestion.value for one in labels if one is not None] == [(label,) for label in LABELS]
    wait(lambda: service.status().model_version.endswith("-fine-tune-1"))
    row = store.current_model()
    assert row is not None
    assert row.base == "fine-tune-1"


def test_a_restart_finds_the_model_that_was_chosen(make_service: ServiceFactory, store: Store, tmp_path: Path) -> None:
    trained(tmp_path / "models", "fine-tune-1")
    store.set_meta(CHOSEN_SPACE, "fine-tune-1")
    first = make_service()
    first.start()
    wait(lambda: first.status().generation != "")
    first.stop()
    again = make_service()
    again.start()
    assert again.status().model_version.endswith("-fine-tune-1")


def test_a_model_that_is_gone_says_what_to_do(make_service: ServiceFactory, store: Store) -> None:
    store.set_meta(CHOSEN_SPACE, "fine-tune-9")
    with pytest.raises(LearningError, match=r"fine-tune-9 is not in .* nextlabel models list"):
        make_service()
