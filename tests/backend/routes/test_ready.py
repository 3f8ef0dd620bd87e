"""From the first moment on a service says how far it is, and whether people can label."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_app
from nextlabel.backend.cli.status_words import rows
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.server import BackgroundServer, listen
from nextlabel.backend.service.front import Front
from nextlabel.backend.service.ports import Backend
from nextlabel.backend.settings import Settings


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture
def starting(front: Front, tmp_path: Path, secrets: Credentials) -> TestClient:
    app = create_app(cast(Backend, front), Settings(home=tmp_path), secrets=secrets)
    return TestClient(app, headers={"Authorization": f"Bearer {secrets.api_token}"}, raise_server_exceptions=False)


def test_a_service_that_starts_says_how_far_it_is(starting: TestClient, front: Front) -> None:
    assert starting.get("/health").status_code == 200
    front.show("reading the data", 1200, 2000)
    refused = starting.get("/ready")
    says = "starting: reading the data, 1,200 of 2,000 records"
    assert (refused.status_code, refused.json()["detail"]) == (503, says)
    status = starting.get("/api/status").json()
    assert (status["state"], status["done"], status["total"]) == ("starting: reading the data", 1200, 2000)
    assert rows(status) == [("doing", says)], "no figures that nobody knows yet"
    assert "nextlabel_ready 0.0" in starting.get("/metrics").text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/predict", {"text": "a cat"}),
        ("POST", "/api/train", None),
        ("POST", "/webhook", {"action": "TASKS_CREATED"}),
        ("GET", "/versions", None),
    ],
)
def test_all_else_is_for_later(starting: TestClient, front: Front, method: str, path: str, body: Any) -> None:
    front.show("loading the encoder", 0, 0)
    answer = starting.request(method, path, json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["detail"] == "starting: loading the encoder; ask again in a moment"


def test_it_is_ready_once_the_queue_is_there(starting: TestClient, front: Front, service: Any) -> None:
    front.open(service)
    assert starting.get("/ready").json() == {"status": "READY"}
    assert "nextlabel_ready 1.0" in starting.get("/metrics").text
    service.not_ready = "starting: embedding, 4 of 9 records"
    assert starting.get("/ready").status_code == 503
    assert starting.post("/api/predict", json={"text": "a cat"}).status_code == 200


def test_strangers_may_ask_whether_it_is_ready(stranger: TestClient) -> None:
    assert stranger.get("/ready").status_code == 200


def test_a_server_answers_while_others_work(front: Front, tmp_path: Path, secrets: Credentials) -> None:
    app = create_app(cast(Backend, front), Settings(home=tmp_path), secrets=secrets)
    with listen("127.0.0.1", 0) as listener, BackgroundServer(app, listener) as server:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert httpx.get(f"{address}/health", trust_env=False).status_code == 200
        threading.Timer(0.1, server.begin_stop).start()
        server.wait()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health", trust_env=False)
