"""A stand-in for our service, which a platform must accept and call, and the people and the owner of Argilla."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.stack.annotators import ArgillaAnnotator
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import BackendAddress
from tests.live.argilla_calls import Api, forget_webhooks
from tests.live.teams import Argilla, Studio, Team


@dataclass
class Call:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes = b""


@dataclass
class Service:
    """A running HTTP server that answers as an ML backend does. ``calls`` grows as the platform talks to it.

    ``status`` is what webhooks are answered with.
    """

    url: str
    status: int = 200
    calls: list[Call] = field(default_factory=list)

    def address(self, secret: str = "a webhook secret") -> BackendAddress:
        return BackendAddress(self.url, "nextlabel", "a password", secret)

    def events(self) -> list[Call]:
        return [call for call in self.calls if call.path.startswith("/webhook")]


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            body: Any = json.loads(raw) if raw else None
            running.calls.append(Call(self.command, self.path, dict(self.headers), body, raw))
            reply: dict[str, Any] = {"status": "UP"}
            if self.path == "/setup":
                reply = {"model_version": "served"}
            elif self.path == "/predict":
                reply = {"results": [{"model_version": "served", "score": 0.5, "result": []} for _ in body["tasks"]]}
            self.send_response(running.status if self.path.startswith("/webhook") else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        do_GET = do_POST = answer

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Service(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield running
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["label_studio", "argilla"])
def team(request: pytest.FixtureRequest) -> Team:
    """A team on each platform, which works in projects of its own."""
    server = request.getfixturevalue(request.param)
    return Studio(server) if request.param == "label_studio" else Argilla(server)


@pytest.fixture
def no_webhooks_left(argilla: ArgillaServer) -> Iterator[None]:
    """No webhook of another test, and none for the next: each hears of every test's datasets."""
    forget_webhooks(argilla)
    yield
    forget_webhooks(argilla)


@pytest.fixture
def api(argilla: ArgillaServer) -> Iterator[Api]:
    """Argilla's own API, with the owner's key: ``api(method, path, body)``."""
    headers = {"X-Argilla-Api-Key": argilla.token}
    with httpx.Client(base_url=f"{argilla.url}/api/v1", headers=headers, timeout=60, trust_env=False) as client:

        def call(method: str, path: str, body: Any = None) -> Any:
            answer = client.request(method, path, json=body)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

        yield call


@pytest.fixture
def crew(argilla: ArgillaServer, argilla_users: list[str]) -> Iterator[Callable[[ArgillaConnector], list[Any]]]:
    """The four annotators of Argilla, at work in a dataset."""
    clients: list[ArgillaAnnotator] = []

    def gather(connector: ArgillaConnector) -> list[ArgillaAnnotator]:
        here = [ArgillaAnnotator(argilla.url, key, connector.project.id) for key in argilla_users]
        clients.extend(here)
        return here

    yield gather
    for client in clients:
        client.close()
