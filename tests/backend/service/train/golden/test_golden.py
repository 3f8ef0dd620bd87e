"""Homes that an earlier version left open as they were: nothing is lost, fitted again, or encoded again."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.registry import ModelStore
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.parity import LABELS
from tests.backend.running import settled
from tests.backend.service.train.golden.homes import FOLDER, HOMES, NEW, SPAN_LABELS, STORE, Expected, plain
from tests.waiting import wait_for

QUESTIONS = {"choices": Labeling(LabelKind.SINGLE, LABELS), "spans": Labeling(LabelKind.SPAN, SPAN_LABELS)}

Open = Callable[[], Service]


@pytest.fixture(params=QUESTIONS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a home that lies in ``tmp_path``."""
    name: str = request.param
    with tarfile.open(HOMES / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / STORE)) as database, database:
        database.execute("UPDATE models SET path = replace(path, ?, ?)", (FOLDER, str(tmp_path)))
    return name


@pytest.fixture
def expected(home: str) -> Expected:
    return Expected.of(home)


@pytest.fixture
def platform(home: str, tmp_path: Path) -> MemoryConnector:
    """As it stood when the service stopped."""
    platform = MemoryConnector(QUESTIONS[home])
    with Store.open(tmp_path / STORE) as store:
        platform.pushed = {str(item.remote_id): item.record for item in store.records()}
        platform.answers = {one.id: one for one in store.answers(drafts=True)}
    platform._ids = itertools.count(len(platform.answers) + 1)
    return platform


@pytest.fixture
def opened(home: str, make_service: ServiceFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Starts the service of the home."""

    def start() -> Service:
        monkeypatch.chdir(tmp_path)
        options: dict[str, object] = {"engine": "torch", "trained": lambda folder: load_encoder(str(folder), "torch")}
        service = make_service(**(options | {"encoder": str(tmp_path / "tiny")} if home == "choices" else {}))
        service.start()
        return service

    return start


def test_it_goes_on_where_it_was(
    opened: Open, platform: MemoryConnector, expected: Expected, home: str, tmp_path: Path
) -> None:
    service = opened()
    assert service.status().model_version == expected.model, "the model is there at once"
    with Store.open(tmp_path / STORE) as store:
        wait_for(lambda: settled(service, store))
        assert platform.queue()[:5] == expected.queue[:5], "the head of the queue; more follows in quiet moments"
        assert {one.id: [one.remote_id, one.annotator] for one in store.answers()} == expected.answers
        assert {row.version for row in store.models()} >= set(expected.models)
        probe, log_seq, *line = expected.model.split("-", 2)
        anew = "-".join([probe, f"{log_seq}.2", *line])  # fitted in another way by now, it has a name of its own
        assert service.status().model_version in {expected.model, anew}
        assert len(service._controller.space.cache) == expected.vectors, "nothing was encoded again"
        predicted = asyncio.run(service.predict([Record("", {"text": text}) for text in NEW[home]]))
        for one, (value, score) in zip(predicted, expected.predictions, strict=True):
            assert one is not None
            assert [plain(part) for part in one.value] == value
            assert one.score == pytest.approx(score, abs=1e-3)
        # And it learns on.
        before = service.status().labelled
        platform.annotate(expected.queue[0], platform.labeling.labels[0] if home == "choices" else ())
        wait_for(lambda: service.status().labelled == before + 1 and settled(service, store))
        assert expected.queue[0] not in platform.queue()


def test_trained_models_are_whole(expected: Expected, home: str, tmp_path: Path) -> None:
    trained = [entry.version for entry in ModelStore(tmp_path / "models").entries()]
    assert trained == [version for version in expected.models if version.startswith("fine-tune")]
