"""The slow step with a real trainer in a process of its own, on an encoder small enough to train in seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.registry import ModelStore
from nextlabel.backend.retraining.embedding_space import TRAINED_ON_FILE
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.parity import LABELS, text, truth
from tests.backend.tiny_bert import tiny_bert

QUICK = TrainingSpec(
    rung="fine-tune", start_at=60, epochs=12, learning_rate=3e-3, head_learning_rate=3e-3, held_out=0.2
)
PATIENCE_S = 280.0  # a busy machine; twice of it fits into a test


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{i}", {"text": text(i)}) for i in range(240)]


@pytest.fixture
def platform() -> MemoryConnector:
    return MemoryConnector(Labeling(LabelKind.SINGLE, LABELS))


@pytest.fixture
def begin(make_service: ServiceFactory, store: Store, tmp_path: Path) -> Callable[..., Service]:
    """Start a service that can train."""
    encoder = tmp_path / "tiny"
    tiny_bert(encoder, spread=0.1)

    def start(spec: TrainingSpec = QUICK) -> Service:
        service = make_service(
            encoder=str(encoder), spec=spec, trained=lambda folder: load_encoder(str(folder), "torch"), engine="torch"
        )
        service.start()
        wait(lambda: service.status().generation != "")
        return service

    return start


def wait(until: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def answer_all(platform: MemoryConnector, most: int = 200) -> None:
    some = list(platform.pushed.items())[:most]
    platform.annotate_all({remote_id: truth(record.uid) for remote_id, record in some})


def trains(service: Service) -> bool:
    return "candidate" in service.status().training  # how far it is may not be told before it is through


def ended(service: Service) -> bool:
    return service.status().training["ended"] == 1


def right(service: Service) -> float:
    unseen = [Record("", {"text": text(number)}) for number in range(1000, 1100)]
    said = asyncio.run(service.predict(unseen))
    return sum(one is not None and one.value == (LABELS[n % 2],) for n, one in enumerate(said)) / len(unseen)


def test_the_encoder_is_trained_and_goes_live(
    begin: Callable[..., Service], platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    service = begin()
    answer_all(platform)
    wait(lambda: service.status().labelled == 200)
    before = right(service)
    wait(lambda: ended(service))
    assert "fine-tune-1 goes live" in service.status().training["verdict"]
    wait(lambda: service.status().model_version.endswith("-fine-tune-1"))
    assert right(service) > before
    [entry] = ModelStore(tmp_path / "models").entries()
    assert entry.card is not None
    assert (entry.card.version, entry.card.rung, entry.card.project) == ("fine-tune-1", "fine-tune", "animals")
    assert {figure.measured_on for figure in entry.card.figures} == {"held-out", "audit"}
    assert not (tmp_path / "training").exists()
    learned = [item.position for item in store.records() if item.position < 200 and item.lot < 0.8 and not item.audit]
    assert np.load(entry.path / TRAINED_ON_FILE).tolist() == learned
    # The same labels are no reason to train again.
    time.sleep(2.5)
    assert service.status().training["ended"] == 1


def test_a_model_that_is_worse_is_kept_and_not_used(
    begin: Callable[..., Service], platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    """Trained on swapped answers that were put right before it ended."""
    service = begin(QUICK.model_copy(update={"start_at": 1000}))
    wrong = {remote_id: LABELS[1 - LABELS.index(truth(record.uid))] for remote_id, record in platform.pushed.items()}
    platform.annotate_all(wrong)
    wait(lambda: service.status().generation_log_head >= 240)
    service.train()  # by itself it might start on some of them, too few to learn the wrong thing
    wait(lambda: service.status().training.get("pid"))
    trainer = service.status().training["pid"]
    os.killpg(trainer, signal.SIGSTOP)  # or it may be done before the loop has heard of the right answers
    answer_all(platform, most=240)
    wait(lambda: service.status().generation_log_head >= 480)
    os.killpg(trainer, signal.SIGCONT)
    wait(lambda: ended(service))
    assert "fine-tune-1 is kept, not used" in service.status().training["verdict"]
    assert service.status().model_version.startswith("probe-")
    assert not service.status().model_version.endswith("fine-tune-1")
    row = next(row for row in store.models() if row.version == "fine-tune-1")
    assert row.metrics["goes_live"] is False
    assert "held-out answers right" in row.metrics["reason"]


def test_a_trainer_that_is_killed_goes_on_and_nobody_notices(
    begin: Callable[..., Service], platform: MemoryConnector, tmp_path: Path
) -> None:
    service = begin(QUICK.model_copy(update={"epochs": 40, "patience": 0}))
    answer_all(platform)
    dice = random.Random(5)
    for _ in range(4):
        wait(lambda: service.status().training.get("pid"))
        time.sleep(dice.uniform(0, 6))
        if (trainer := service.status().training.get("pid")) is not None:
            with contextlib.suppress(ProcessLookupError):  # it may just have ended
                os.killpg(trainer, signal.SIGKILL)
        assert right(service) >= 0.0  # it answers
        assert [path.name for path in (tmp_path / "models").glob("fine-tune-*")] in ([], ["fine-tune-1"])
        if ended(service):
            break
    wait(lambda: ended(service))
    assert "fine-tune-1" in service.status().training["verdict"]


def test_a_restart_goes_on_with_the_training(
    begin: Callable[..., Service], platform: MemoryConnector, tmp_path: Path
) -> None:
    service = begin(QUICK.model_copy(update={"epochs": 40, "patience": 0}))
    answer_all(platform)
    wait(lambda: trains(service))
    service.stop()
    assert (tmp_path / "training" / "plan.json").exists()
    again = begin(QUICK.model_copy(update={"epochs": 40, "patience": 0}))
    wait(lambda: ended(again))
    assert "fine-tune-1" in again.status().training["verdict"]


def test_cancel_ends_it_until_there_are_more_labels(begin: Callable[..., Service], platform: MemoryConnector) -> None:
    service = begin(QUICK.model_copy(update={"epochs": 500, "patience": 0}))
    answer_all(platform)
    wait(lambda: trains(service))
    assert service.cancel_training()
    wait(lambda: ended(service))
    assert service.status().training["verdict"] == "cancelled"
    assert not service.cancel_training()
    service.train()
    wait(lambda: trains(service))


def test_what_cannot_be_trained_says_so(
    begin: Callable[..., Service], make_service: ServiceFactory, platform: MemoryConnector
) -> None:
    service = begin()
    with pytest.raises(LearningError, match="two labels with 2 answers each"):
        service.train()
    assert not service.cancel_training()
