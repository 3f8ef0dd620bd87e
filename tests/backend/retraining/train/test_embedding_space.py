"""Another trained model is chosen while the service runs: the loop moves to its vectors, and nobody notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.activation import SIGMOID
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.registry import CHOSEN_SPACE
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.questions.choice import ChoiceHead
from nextlabel.backend.retraining.embedding_space import OWN, TRAINED_ON_FILE, EmbeddingSpace, note_trained_on
from nextlabel.backend.store import Store
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, SUBJECTS, ServiceFactory, Trained
from tests.backend.running import settled, started


def trained(folder: Path, version: str) -> None:
    """The folder of a model whose encoder turns every vector round, and whose head knows the three subjects."""
    (folder / version).mkdir(parents=True)
    vectors = -np.concatenate([load_encoder("hashing").encode([subject]) for subject in SUBJECTS])
    head = Probe.fit(np.repeat(vectors, 30, axis=0), np.repeat(np.arange(3), 30), 3)
    replace(head, names=LABELS).save(folder / version / HEAD_FILE)


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_the_loop_moves_and_every_request_is_answered_from_one_space(
    make_service: ServiceFactory, store: Store, platform: MemoryConnector, tmp_path: Path
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


class Breaks(Trained):
    """Encodes what the labels are called, and fails at the records."""

    def encode(self, texts: Sequence[Readable]) -> npt.NDArray[np.float32]:
        if len(texts) > len(LABELS):
            raise RuntimeError("the device is lost")
        return super().encode(texts)


def test_a_model_that_fails_at_the_records_stops_neither_the_loop_nor_the_slow_step(
    make_service: ServiceFactory, store: Store, platform: MemoryConnector, tmp_path: Path
) -> None:
    service = started(make_service, platform, trained=Breaks)
    trained(tmp_path / "models", "fine-tune-1")
    store.set_meta(CHOSEN_SPACE, "fine-tune-1")
    wait(lambda: "the device is lost" in service.status().training.get("error", ""))
    platform.annotate(platform.queue()[0], LABELS[0])
    wait(lambda: service.status().labelled == 1 and settled(service, store))
    assert service.status().last_error == ""
    store.set_meta(CHOSEN_SPACE, OWN)
    wait(lambda: "error" not in service.status().training)
    assert "moving_to" not in service.status().training


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


def test_who_goes_on_from_a_model_has_learned_what_that_one_had(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    note_trained_on(first, [7, 3, 3], None)
    note_trained_on(second, [5, 3], first)
    assert np.load(second / TRAINED_ON_FILE).tolist() == [3, 5, 7]
    note_trained_on(third, [1], tmp_path / "trained before this was noted")
    assert not (third / TRAINED_ON_FILE).exists()


def test_a_head_tells_of_what_it_has_not_learned_and_a_probe_of_all(tmp_path: Path) -> None:
    encoder = load_encoder("hashing")
    cache = EmbeddingCache.open(tmp_path, encoder)
    rows = cache.ensure([f"{SUBJECTS[at % 3]} near house {at}" for at in range(30)], encoder)
    targets, at = np.arange(30) % 3, np.arange(100, 130)
    probe = Probe.fit(cache.take(rows), targets, 3)
    own = EmbeddingSpace(OWN, encoder, cache, np.zeros((3, encoder.dimension), np.float32))
    folds = probe.held_out_proba(cache.take(rows))
    assert folds is not None
    of_the_probe = own.held_out(ChoiceHead(probe), rows, at)
    assert of_the_probe is not None
    assert np.array_equal(of_the_probe, folds)
    head = Probe.fit(cache.take(rows[:20]), 2 - targets[:20], 3)  # it says something else
    trained_space = replace(own, version="fine-tune-1", prior=head, trained_on=np.arange(90, 120))
    found = trained_space.held_out(ChoiceHead(probe), rows, at)
    assert found is not None
    assert np.isnan(found[:20]).all()
    assert np.array_equal(found[20:], head.predict_proba(cache.take(rows[20:])))
    assert trained_space.held_out(ChoiceHead(probe), rows[:20], at[:20]) is None
    assert replace(trained_space, trained_on=None).held_out(ChoiceHead(probe), rows, at) is None


def test_a_head_for_one_label_a_record_is_believed_until_an_answer_has_several(tmp_path: Path) -> None:
    encoder = load_encoder("hashing")
    cache = EmbeddingCache.open(tmp_path, encoder)
    vectors = cache.take(cache.ensure([f"{SUBJECTS[at % 3]} near house {at}" for at in range(30)], encoder))
    targets = np.arange(30) % 3
    head = replace(Probe.fit(vectors, targets, 3), names=LABELS).aligned(LABELS, SIGMOID)
    space = EmbeddingSpace("fine-tune-1", encoder, cache, np.zeros((3, encoder.dimension), np.float32), head)
    several = np.eye(3, dtype=np.bool_)[targets]
    for rows in (0, 30):
        probe = space.fit(vectors[:rows], several[:rows], 3)
        assert (probe.exclusive, probe.activation, probe.names) == (True, SIGMOID, LABELS)
        assert (probe.predict_proba(vectors).argmax(axis=1) == targets).all()
        np.testing.assert_allclose(probe.predict_proba(vectors).sum(axis=1), 1, rtol=1e-5)
    several[0] = True
    probe = space.fit(vectors, several, 3)
    assert not probe.exclusive
    assert probe.cross is None, "the encoder has learned from these answers"
    assert (probe.predict_proba(vectors).argmax(axis=1) == targets)[1:].all()


def test_a_model_that_is_gone_says_what_to_do(make_service: ServiceFactory, store: Store) -> None:
    store.set_meta(CHOSEN_SPACE, "fine-tune-9")
    with pytest.raises(LearningError, match=r"fine-tune-9 is not in .* nextlabel models list"):
        make_service()
