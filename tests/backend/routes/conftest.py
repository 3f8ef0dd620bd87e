"""The real app around a small service that keeps everything in memory: the edge is what is tested here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_app
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.questions import Prediction
from nextlabel.backend.server import make_server
from nextlabel.backend.service.image_copies import ImageCopy
from nextlabel.backend.service.ports import Status
from nextlabel.backend.settings import Settings
from nextlabel.connectors.argilla.payloads import read_event as read_response_event
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.label_studio.payloads import read_event
from nextlabel.connectors.records import Hint, Labeling, LabelKind, Record, Suggestion
from tests.waiting import wait_for

ARGILLA, DATASET = "http://127.0.0.1:6900", "5c8f4b9e-8d52-4d11-9f35-0a2b6d2f7c11"
LABELING = Labeling(LabelKind.SINGLE, ("sport", "business"))
SECRETS = Credentials(user="ls", password="pass:wörd", api_token="bearer-token", webhook_secret="webhook-secret")


class MemoryService:
    """Fulfils ports.Backend: says "sport" to all but blind records, remembers what it heard."""

    labeling = LABELING
    serving_version = "nl-1"
    config = ""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self.has_room = True
        self.compared: list[str] = []
        self.blind: set[str] = set()
        self.asked: list[tuple[tuple[str, ...], int | None]] = []
        self.failure: Exception | None = None
        self.images: dict[str, ImageCopy] = {}
        self.signed = "v1,signed"
        self.not_ready = ""
        self.training: dict[str, Any] = {"ended": 0}
        self.move_to_label_studio()
        self.lease: dict[str, Any] = {
            "owner": "vm:17:ab",
            "ours": True,
            "since": "2026-11-30T00:33:54+00:00",
            "until": "2026-11-30T00:34:09+00:00",
            "left_s": 11.5,
        }
        self.audit = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "n": 30.0}

    def move_to_label_studio(self) -> None:
        """Serve a project of Label Studio."""
        self.project = ProjectRef(
            "label-studio", "http://127.0.0.1:8080", "9", "demo", "http://127.0.0.1:8080/projects/9"
        )

    def move_to_argilla(self) -> None:
        """Serve a dataset of Argilla from now on. Before the first request only: the app asks once."""
        self.project = ProjectRef("argilla", ARGILLA, DATASET, "demo", f"{ARGILLA}/dataset/{DATASET}/annotation-mode")

    async def predict(self, records: Sequence[Record]) -> list[Suggestion | None]:
        if self.failure:
            raise self.failure
        return [None if record.uid in self.blind else Suggestion(("sport",), 0.75, "nl-1") for record in records]

    async def classify(self, records: Sequence[Record]) -> list[Prediction | None]:
        probabilities = {"sport": 0.75, "business": 0.25}
        return [one if one is None else Prediction(one, probabilities) for one in await self.predict(records)]

    def image(self, name: str) -> ImageCopy | None:
        return self.images.get(name)

    def parse_event(self, body: dict[str, Any]) -> Hint:
        if self.project and self.project.platform == "argilla":
            return read_response_event(DATASET, body)
        return read_event("<View/>", "9", body)

    def authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return headers.get("webhook-signature") == self.signed

    def notify(self, hint: Hint) -> bool:
        self.heard.append(hint)
        return self.has_room

    def compare(self, *, believe: bool = False, keep: bool = False) -> int:
        if self.failure:
            raise self.failure
        self.compared.append("platform" if believe else "ours" if keep else "")
        return len(self.compared)

    def ask_again(self, uids: Sequence[str], opinions: int | None = None) -> int:
        if self.failure:
            raise self.failure
        self.asked.append((tuple(uids), opinions))
        return len(uids)

    def train(self) -> None:
        if self.failure:
            raise self.failure
        self.training = {"ended": 1, "verdict": "fine-tune-1 goes live: 9 of 10 held-out answers right, 8 before"}

    def cancel_training(self) -> bool:
        return bool(self.training.pop("stage", ""))

    def versions(self) -> list[str]:
        return ["nl-1", "nl-0"]

    def status(self) -> Status:
        return Status(
            project=self.project,
            leader=True,
            lease=self.lease,
            state="idle",
            records=2225,
            pushed=2127,
            labelled=40,
            audit_labelled=4,
            log_head=41,
            model_version="nl-1",
            generation="nl-1-7",
            generation_log_head=40,
            label_to_queue_p50=0.4,
            label_to_queue_p95=float("nan"),
            platform_reachable=True,
            not_ready=self.not_ready,
            poll_age_s=2.5,
            queue_age_s=60.0,
            waiting_s=0.7,
            label_to_queue={"0.5": 3, "1.0": 4, "+Inf": 5, "sum": 7.5},
            audit=self.audit,
            notices=[{"kind": "annotation", "message": "it is odd", "fix": "mend it", "since": "2026-01-01T00:00:00"}],
            notice_counts={"annotation": 3},
            training=self.training,
            comparison={
                "answers": 1240,
                "found": 0,
                "withheld": 0,
                "agree": True,
                "age_s": 180,
                "ended": 1,
                "running": False,
            },
        )


@pytest.fixture
def service() -> MemoryService:
    return MemoryService()


@pytest.fixture
def app(service: MemoryService, tmp_path: Path) -> FastAPI:
    return create_app(service, Settings(home=tmp_path, max_request_bytes=200_000), secrets=SECRETS)


@pytest.fixture
def stranger(app: FastAPI) -> Iterator[TestClient]:
    """A client without credentials; errors of the app come as answers, as they would over a wire."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """A client that shows basic auth, as Label Studio does."""
    stranger.auth = (SECRETS.user.encode(), SECRETS.password.encode())
    return stranger


@pytest.fixture
def secrets() -> Credentials:
    return SECRETS


@pytest.fixture
def port(app: FastAPI) -> Iterator[int]:
    """The app behind uvicorn on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_for(lambda: server.started)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    listener.close()
