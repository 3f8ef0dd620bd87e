"""One process and its trainings, with the real trainer: the next one begins whatever became of those before.

How each may end is tested tick by tick, in test_tuner.py. The gate's verdicts are the test's here: the models of these
trainings, which are as short as they can be, are not worth judging.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.evaluation.comparison import Verdict
from nextlabel.backend.models.registry import ModelStore, roll_back
from nextlabel.backend.retraining import candidates
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.parity import LABELS, text, truth
from tests.backend.retraining.train.test_retraining import wait
from tests.backend.tiny_bert import tiny_bert

SHORT = TrainingSpec(rung="few-shot", start_at=1000, epochs=1, held_out=0.2)


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{i}", {"text": text(i)}) for i in range(60)]


@pytest.fixture
def platform() -> MemoryConnector:
    return MemoryConnector(Labeling(LabelKind.SINGLE, LABELS))


@pytest.fixture
def begin(make_service: ServiceFactory, store: Store, tmp_path: Path) -> Callable[[], Service]:
    tiny_bert(tmp_path / "tiny", spread=0.1)

    def start() -> Service:
        service = make_service(
            encoder=str(tmp_path / "tiny"),
            spec=SHORT,
            trained=lambda folder: load_encoder(str(folder), "torch"),
            engine="torch",
        )
        service.start()
        wait(lambda: service.status().labelled == 40 and service.status().state == "idle")
        return service

    return start


def train(service: Service) -> str:
    """Ask for a training, and wait for its end; its verdict, without the reason."""
    before = service.status().training["ended"]
    service.train()
    wait(lambda: service.status().training["ended"] == before + 1)
    return str(service.status().training["verdict"]).partition(":")[0]


def stands_on(service: Service, model: str) -> bool:
    status = service.status()
    return status.model_version.endswith(model) and "moving_to" not in status.training


def test_six_trainings_with_a_refusal_a_failure_a_rollback_and_a_restart_between(
    begin: Callable[[], Service],
    platform: MemoryConnector,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = [True, False, True, True, True]  # without the one that fails
    monkeypatch.setattr(candidates, "judge", lambda held_out, audit: Verdict(live.pop(0), "the test says so", {}))
    platform.pushed.update({f"r-{one.record.uid}": one.record for one in store.records()})
    answered = {remote_id: truth(record.uid) for remote_id, record in list(platform.pushed.items())[:40]}
    platform.annotate_all(answered)
    service = begin()
    assert train(service) == "few-shot-1 goes live"
    wait(lambda: stands_on(service, "-few-shot-1"))
    assert train(service) == "few-shot-2 is kept, not used"
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    assert train(service) == "no candidate could be trained"
    (tmp_path / "elsewhere").rename(weights)
    assert "model.safetensors" in service.status().training["error"]
    assert train(service) == "few-shot-3 goes live"
    wait(lambda: stands_on(service, "-few-shot-3"))
    roll_back(store, ModelStore(tmp_path / "models"))
    wait(lambda: stands_on(service, "-few-shot-1"))
    assert train(service) == "few-shot-4 goes live"
    wait(lambda: stands_on(service, "-few-shot-4"))
    service.stop()
    again = begin()
    assert again.status().model_version == "probe-40-few-shot-4"
    assert train(again) == "few-shot-5 goes live"
    wait(lambda: stands_on(again, "-few-shot-5"))
