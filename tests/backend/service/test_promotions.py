"""Requests while models are promoted and rolled back, a small form of ``benchmarks promotions``: all right, none mixed.

On a platform in memory, for it has no part in an answer; the registry, the loop that moves, the models that it fits,
the batcher and the HTTP edge are the service's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import SecretStr

from benchmarks.promotions import LABELS, Answer, Kept, Promoter, ask, judged, told_apart
from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.app import create_app
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.registry import ModelStore, line_of
from nextlabel.backend.retraining import retrainer
from nextlabel.backend.server import BackgroundServer, listen
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.content import Readable
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory, Trained
from tests.backend.retraining.steps import write_model
from tests.backend.running import started, tell
from tests.size import count
from tests.waiting import wait_for

TEXTS = [f"{label} and what belongs to it, number {number}" for number in range(20) for label in LABELS]
TOKEN = "a token of the test"
REQUESTS = count(400, long=5000, name="NEXTLABEL_REQUESTS")


class Studio(MemoryConnector):
    """Label Studio's place in memory."""

    project = ProjectRef("label-studio", "http://127.0.0.1", "1", "animals", "http://127.0.0.1/1")


class Turned(Trained):
    """Other vectors with every version."""

    def encode(self, texts: Sequence[Readable]) -> npt.NDArray[np.float32]:
        return np.roll(self._hashing.encode(texts), int(self.name[-1]), axis=1)


@pytest.fixture
def platform() -> MemoryConnector:
    return Studio(Labeling(LabelKind.SINGLE, LABELS))


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{number}", {"text": text}) for number, text in enumerate(TEXTS[:60])]


@pytest.fixture
def models(store: Store, tmp_path: Path) -> ModelStore:
    found = ModelStore(tmp_path / "models")
    for _ in range(2):
        write_model(tmp_path / "work", LABELS)
        card = ModelCard("", "animals", "fine-tune", "2026-01-01", "tiny", LABELS, activation=SOFTMAX)
        entry = found.add(tmp_path / "work", card)
        store.add_model(entry.version, "fine-tune", 0, {}, str(entry.path))
    return found


def encoder_of(models: ModelStore, line: str) -> Encoder:
    return Turned(models.folder / line) if line else load_encoder("hashing")


def test_every_answer_is_by_the_version_that_it_names_and_by_no_other(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
    models: ModelStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pause in ("IDLE", "WATCH"):
        monkeypatch.setattr(retrainer, pause, 0.02)
    service = started(make_service, platform, poll_interval=60, trained=Turned)

    def label(number: int) -> None:
        remote_id = list(platform.pushed)[number]
        tell(service, store, platform.annotate(remote_id, platform.pushed[remote_id].fields["text"].split()[0]))

    def arrived(line: str) -> None:
        def is_there() -> bool:
            row = store.current_model()
            here = row is not None and line_of(row) == line and service.status().model_version == row.version
            return here and service.status().state == "idle"

        wait_for(is_there)

    for number in range(20):
        label(number)
    arrived("")
    (tmp_path / "kept").mkdir()
    kept = Kept(models.folder, tmp_path / "kept")
    kept.copy()

    def after(moves: int) -> None:
        kept.copy()
        if moves % 4 == 0 and moves < 160:
            label(20 + moves // 4)
            kept.copy()

    settings = Settings(home=tmp_path, api_token=SecretStr(TOKEN))
    with (
        listen("127.0.0.1", 0) as listener,
        BackgroundServer(create_app(service, settings), listener),
        Promoter(store, models, arrived, after) as promoter,
    ):
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answers = ask(address, TOKEN, TEXTS, REQUESTS, more=lambda: promoter.works and promoter.moves < 6)
    kept.copy()
    alone = kept.alone(lambda line: encoder_of(models, line), TEXTS)
    found = judged(answers, alone)
    print(found, promoter.moves)
    assert (found["errors"], found["wrong"], found["mixed"]) == (0, 0, 0)
    assert found["requests"] >= REQUESTS
    assert len(found["versions"]) >= 3
    assert told_apart({version: alone[version] for version in found["versions"]}) > 0.5


def test_what_is_wrong_or_mixed_is_seen() -> None:
    """The judge itself."""
    one, other = np.eye(5, dtype=np.float32)[[0, 1]], np.eye(5, dtype=np.float32)[[1, 1]]
    alone = {"one": one, "other": other}

    def answered(version: str, *labels: int) -> Answer:
        rows = [{"probabilities": dict(zip(LABELS, np.eye(5)[label].tolist(), strict=True))} for label in labels]
        return Answer((0, 1), 200, {"model_version": version, "predictions": rows})

    def shown(*rows: tuple[str, int]) -> Answer:
        results = [
            {"model_version": version, "score": 1.0, "result": [{"value": {"choices": [LABELS[label]]}}]}
            for version, label in rows
        ]
        return Answer((0, 1), 200, {"results": results})

    def counts(answer: Answer) -> tuple[int, int, int]:
        found = judged([answer], alone)
        return found["errors"], found["wrong"], found["mixed"]

    assert counts(answered("one", 0, 1)) == (0, 0, 0)
    assert counts(answered("other", 1, 1)) == (0, 0, 0)
    assert counts(answered("other", 0, 1)) == (0, 1, 1)
    assert counts(answered("other", 0, 0)) == (0, 1, 0)
    assert counts(answered("third", 0, 1)) == (0, 1, 0)
    assert counts(shown(("one", 0), ("one", 1))) == (0, 0, 0)
    assert counts(shown(("one", 0), ("other", 1))) == (0, 0, 1)
    assert counts(answered("one", 0)) == (1, 0, 0)
    assert counts(Answer((0, 1), 503, {})) == (1, 0, 0)
