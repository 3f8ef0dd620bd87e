"""The slow step for records with images: a fusion head is trained on both towers' vectors, judged, and goes live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.encoders.fusion import FusedEncoder
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.export.export import export_model
from nextlabel.backend.models.registry import ModelStore
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.multimodal.memes import LABELS, meme, tiny_vit

QUICK = TrainingSpec(start_at=100, fusion="product")
COUNT, UNSEEN = 260, 100


def record(uid: str, number: int) -> Record:
    text, image, _ = meme(number)
    return Record(uid, {"text": text, "image": image})


@pytest.fixture
def records() -> list[Record]:
    return [record(f"u{number}", number) for number in range(COUNT)]


@pytest.fixture
def platform() -> MemoryConnector:
    fields = (Field("text"), Field("image", FieldKind.IMAGE))
    return MemoryConnector(Labeling(LabelKind.SINGLE, LABELS, fields))


@pytest.fixture
def begin(make_service: ServiceFactory, store: Store, tmp_path: Path) -> Callable[[], Service]:
    tiny_vit(tmp_path / "vit")

    def start() -> Service:
        service = make_service(
            encoder=f"hashing+{tmp_path / 'vit'}",
            spec=QUICK,
            trained=lambda folder: load_encoder(str(folder), cache_dir=tmp_path),
            rungs=("fusion",),
        )
        service.start()
        wait(lambda: service.status().generation != "")
        return service

    return start


def wait(until: Callable[[], object], seconds: float = 250) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def right(service: Service) -> float:
    """Accuracy on memes that the service has never seen."""
    numbers = range(1000, 1000 + UNSEEN)
    said = asyncio.run(service.predict([record("", number) for number in numbers]))
    hits = [one is not None and one.value == (LABELS[meme(n)[2]],) for n, one in zip(numbers, said, strict=True)]
    return sum(hits) / UNSEEN


def test_the_fusion_head_goes_live_and_beats_the_probe(
    begin: Callable[[], Service], platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    service = begin()
    platform.annotate_all({key: LABELS[meme(int(one.uid[1:]))[2]] for key, one in platform.pushed.items()})
    wait(lambda: service.status().generation_log_head >= COUNT)
    probe = right(service)
    wait(lambda: service.status().training["ended"] == 1)
    assert "fusion-1 goes live" in service.status().training["verdict"]
    wait(lambda: service.status().model_version.endswith("-fusion-1"))
    assert isinstance(service._controller.space.encoder, FusedEncoder)
    assert probe < 0.65, "then the labels would not need both sides"
    assert right(service) > 0.85

    [entry] = ModelStore(tmp_path / "models").entries()
    assert entry.card is not None
    assert (entry.version, entry.card.rung, entry.card.project) == ("fusion-1", "fusion", "animals")
    with pytest.raises(LearningError, match="--format nextlabel"):
        export_model(entry.path, tmp_path / "out")
    done = export_model(entry.path, tmp_path / "out", "nextlabel")
    assert f"hashing+{tmp_path / 'vit'}" in done.note
    assert (tmp_path / "out" / "fusion.safetensors").is_file()
