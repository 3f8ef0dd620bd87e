"""Another model is chosen: a process of its own encodes the records, slowly, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.registry import CHOSEN_SPACE, SPACE_IN_USE
from nextlabel.backend.retraining import model_switch
from nextlabel.backend.retraining.model_switch import FEW
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.training import process
from nextlabel.backend.training.jobs import TEXTS_FILE
from nextlabel.connectors.content import Readable
from nextlabel.connectors.records import Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, SUBJECTS, ServiceFactory, Trained
from tests.backend.retraining.train.test_embedding_space import trained, wait

MODEL = "fine-tune-1"
COUNT = 400


class Counting(Trained):
    """Notes what is encoded in the service's own process."""

    encoded: ClassVar[list[Readable]] = []

    def encode(self, texts: Sequence[Readable]) -> npt.NDArray[np.float32]:
        Counting.encoded.extend(texts)
        return super().encode(texts)


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{i}", {"text": f"{SUBJECTS[i % 3]} near house {i}"}) for i in range(COUNT)]


@pytest.fixture
def begin(
    make_service: ServiceFactory, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Service]:
    """Start a service that encodes slowly for whatever model is chosen."""
    places = [str(Path(__file__).parents[1] / "processes"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setattr(process, "WORKER", "slow_embedding")
    Counting.encoded.clear()
    trained(tmp_path / "models", MODEL)

    def start() -> Service:
        service = make_service(trained=Counting)
        service.start()
        wait(lambda: service.status().generation != "")
        return service

    return start


def encodes(service: Service) -> bool:
    training = service.status().training
    return training.get("stage") == "embedding" and training["step"] > 0


def has_learned(service: Service, labels: int) -> bool:
    return service.status().generation_log_head >= labels


def in_use(service: Service) -> str:
    return service._controller.space.version


def pid(service: Service) -> int | None:
    """The process that encodes."""
    return service.status().training.get("pid")


def test_the_loop_goes_on_until_all_is_encoded_and_then_moves_at_once(
    begin: Callable[[], Service], store: Store, platform: MemoryConnector, records: list[Record]
) -> None:
    service = begin()
    before = len(platform.published)
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: encodes(service))
    assert service.status().training["moving_to"] == MODEL
    assert service.status().training["steps"] == COUNT
    labels = 0
    while encodes(service) and labels < 20:  # each answer makes another queue
        platform.annotate(platform.queue()[0], LABELS[labels % 3])
        labels += 1
        wait(partial(has_learned, service, labels))
        if encodes(service):
            assert in_use(service) == ""
            [said] = asyncio.run(service.classify([Record("", {"text": SUBJECTS[0]})]))
            assert said is not None
            assert MODEL not in said.suggestion.model_version
    assert labels >= 2
    assert len(platform.published) >= before + labels
    wait(lambda: service.status().model_version.endswith(f"-{MODEL}"))
    texts = {record.fields["text"] for record in records}
    assert not texts & set(Counting.encoded), "they were encoded in the service's own process"
    assert "stage" not in service.status().training
    assert store.get_meta(SPACE_IN_USE) == MODEL


def test_records_that_come_in_meanwhile_are_encoded_by_the_loop(
    begin: Callable[[], Service], store: Store, tmp_path: Path
) -> None:
    service = begin()
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: encodes(service))
    store.add_records([Record(f"late{i}", {"text": f"a late text {i}"}) for i in range(FEW)])
    wait(lambda: service.status().model_version.endswith(f"-{MODEL}"))
    wait(lambda: service.status().records == COUNT + FEW)
    assert {f"a late text {i}" for i in range(FEW)} <= set(Counting.encoded)


def test_a_process_that_is_killed_is_followed_by_one_that_does_the_rest(
    begin: Callable[[], Service], store: Store, tmp_path: Path
) -> None:
    service = begin()
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: encodes(service))
    first = pid(service)
    assert first is not None
    os.killpg(first, signal.SIGKILL)
    wait(lambda: pid(service) not in (first, None))
    left = len((tmp_path / "embedding" / TEXTS_FILE).read_text().splitlines())
    assert 0 < left < COUNT
    wait(lambda: service.status().model_version.endswith(f"-{MODEL}"))


def test_a_restart_begins_with_the_model_in_use_and_goes_on(begin: Callable[[], Service], store: Store) -> None:
    service = begin()
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: encodes(service))
    service.stop()
    again = begin()
    assert in_use(again) == ""
    assert again.status().model_version.startswith("probe-")
    wait(lambda: again.status().model_version.endswith(f"-{MODEL}"))


def test_cancelled_the_model_in_use_stays(begin: Callable[[], Service], store: Store) -> None:
    service = begin()
    version = service.status().model_version
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: encodes(service))
    encoding = pid(service)
    assert service.cancel_training()
    wait(lambda: "moving_to" not in service.status().training)
    assert store.get_meta(CHOSEN_SPACE) == ""
    assert service.status().model_version == version
    with pytest.raises(ProcessLookupError):
        os.kill(encoding or 0, 0)
    assert not service.cancel_training()


def test_chosen_back_the_process_ends(begin: Callable[[], Service], store: Store) -> None:
    service = begin()
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: encodes(service))
    store.set_meta(CHOSEN_SPACE, "")
    wait(lambda: pid(service) is None)
    assert in_use(service) == ""


def test_what_fails_is_told_and_tried_again(
    begin: Callable[[], Service],
    store: Store,
    platform: MemoryConnector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_switch, "RETRY_S", 3.0)
    service = begin()
    broken = tmp_path / "models" / MODEL / "broken"
    broken.touch()
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: "the weights are damaged" in service.status().training.get("error", ""))
    platform.annotate(platform.queue()[0], LABELS[0])
    wait(lambda: service.status().generation_log_head == 1)
    broken.unlink()
    wait(lambda: service.status().model_version.endswith(f"-{MODEL}"))
    assert "error" not in service.status().training


def test_a_model_that_is_gone_is_told_and_the_loop_stays(begin: Callable[[], Service], store: Store) -> None:
    service = begin()
    store.set_meta(CHOSEN_SPACE, "fine-tune-9")
    wait(lambda: "fine-tune-9 is not in" in service.status().training.get("error", ""))
    assert in_use(service) == ""


def test_the_way_back_to_the_recipes_own_encoder_needs_no_process(begin: Callable[[], Service], store: Store) -> None:
    service = begin()
    store.set_meta(CHOSEN_SPACE, MODEL)
    wait(lambda: service.status().model_version.endswith(f"-{MODEL}"))
    started = time.monotonic()
    store.set_meta(CHOSEN_SPACE, "")
    wait(lambda: not service.status().model_version.endswith(MODEL))
    assert in_use(service) == ""
    assert time.monotonic() - started < 30
    assert load_encoder("hashing").fingerprint == service._controller.space.encoder.fingerprint
