"""The webhook of Argilla: signed, server-wide, repeated."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.connectors.records import Hint

PATH = "/webhook/argilla"


def event(service: Any, kind: str = "response.created", **changes: Any) -> dict[str, Any]:
    """An event of the dataset served, as Argilla 2.8 sends it, less what nobody reads."""
    data = {
        "id": "b4f7c2de-2c5f-4f6c-8a8e-0d4d5b7d1d10",
        "values": {"label": {"value": "sport"}},
        "status": "submitted",
        "record": {
            "id": "0d6d6c2e-54b3-4a8c-9c7e-16cf4d7c0a01",
            "status": "pending",
            "fields": {"text": "The striker scored twice."},
            "metadata": None,
            "external_id": "u1",
            "dataset": {"id": service.project.id, "name": "demo"},
        },
        "user": {"id": "9a2f6a0e-3b1d-4f0a-8c77-5f1b3f0e2c22", "username": "ann", "role": "annotator"},
        "inserted_at": "2026-11-22T04:00:00.000000",
        "updated_at": "2026-11-22T04:00:01.000000",
    }
    return {"type": kind, "version": 1, "timestamp": "2026-11-22T04:00:01.100000Z", "data": data | changes}


@pytest.fixture(autouse=True)
def on_argilla(service: Any) -> None:
    service.move_to_argilla()


@pytest.fixture
def client(stranger: TestClient, service: Any) -> TestClient:
    """Argilla: no credentials, but a signature on what it sends."""
    stranger.headers["webhook-signature"] = service.signed
    return stranger


def counted(client: TestClient, secrets: Any, kind: str, outcome: str) -> bool:
    line = f'nextlabel_webhook_events_total{{action="{kind}",outcome="{outcome}"}} 1.0'
    return line in client.get("/metrics", headers={"Authorization": f"Bearer {secrets.api_token}"}).text


@pytest.mark.parametrize("kind", ["response.created", "response.updated", "response.deleted"])
def test_an_event_says_where_to_look(client: TestClient, service: Any, secrets: Any, kind: str) -> None:
    answer = client.post(PATH, json=event(service, kind))
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    where = {"b4f7c2de-2c5f-4f6c-8a8e-0d4d5b7d1d10": "0d6d6c2e-54b3-4a8c-9c7e-16cf4d7c0a01"}
    assert service.heard == [Hint(annotations=where)]
    assert counted(client, secrets, kind, "followed")


@pytest.mark.parametrize("shown", [None, "", "v1,", "v1,forged", "\xff"])
def test_what_the_platform_did_not_sign_is_refused_unread(
    stranger: TestClient, service: Any, secrets: Any, shown: str | None
) -> None:
    headers = {} if shown is None else {b"webhook-signature": shown.encode("latin-1")}
    stranger.auth = (secrets.user.encode(), secrets.password.encode())
    for body in (b"no JSON", b"\xff", b'{"type": "ping"}'):
        answer = stranger.post(PATH, content=body, headers=headers)
        assert answer.status_code == 401, "basic auth does not help: only the signature counts"
        assert "signature" in answer.json()["detail"]
    assert service.heard == []


def test_the_body_is_judged_as_it_came(client: TestClient, service: Any) -> None:
    seen = []

    def authentic(headers: Mapping[str, str], body: bytes) -> bool:
        seen.append((dict(headers), body))
        return True

    service.authentic = authentic
    body = b' {"type":\n"ping"} '
    client.post(PATH, content=body, headers={"Content-Type": "application/json", "Webhook-Id": "msg_1"})
    [(headers, raw)] = seen
    assert raw == body
    assert headers["webhook-id"] == "msg_1"


def test_a_ping_and_unknown_types_are_acknowledged_and_make_no_series(
    client: TestClient, service: Any, secrets: Any
) -> None:
    ping = {"type": "ping", "version": 1, "data": {"agent": "argilla-server", "version": "2.8.0"}}
    assert client.post(PATH, json=ping).json()["status"] == "ok"
    for kind in ("record.updated", "user.created", "x" * 1000):
        assert client.post(PATH, json=event(service, kind)).status_code == 200
    assert service.heard == []
    assert counted(client, secrets, "ping", "nothing to do")
    assert not counted(client, secrets, "user.created", "nothing to do")


def test_events_of_other_datasets_change_nothing(client: TestClient, service: Any, secrets: Any) -> None:
    other = event(service)
    other["data"]["record"]["dataset"]["id"] = "11111111-2222-3333-4444-555555555555"
    answer = client.post(PATH, json=other)
    assert answer.status_code == 200
    assert "ignored" in answer.json()["status"]
    assert service.heard == []
    assert counted(client, secrets, "response.created", "other project")


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda body: body.pop("type"), 422),
        (lambda body: body.update(type=None), 422),
        (lambda body: body.pop("data"), 400),
        (lambda body: body.update(data=[]), 400),
        (lambda body: body["data"].pop("record"), 400),
        (lambda body: body["data"].pop("id"), 400),
        (lambda body: body["data"]["record"].pop("id"), 400),
        (lambda body: body["data"].update(record=None), 400),
    ],
)
def test_malformed_events_are_refused_with_the_reason(
    client: TestClient, service: Any, spoil: Any, status: int
) -> None:
    body = copy.deepcopy(event(service))
    spoil(body)
    answer = client.post(PATH, json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert service.heard == []


def test_what_an_event_says_of_the_answer_is_not_read(client: TestClient, service: Any) -> None:
    """Neither who gave it, nor when, nor what it is: all of that is read from Argilla."""
    body = event(service, "response.updated", updated_at="in the year 2030", status="draft")
    body["data"].pop("user")
    assert client.post(PATH, json=body).is_success
    assert service.heard[0] == Hint(annotations={body["data"]["id"]: body["data"]["record"]["id"]})


def test_routes_of_the_other_platform_are_not_there(client: TestClient, service: Any, secrets: Any) -> None:
    client.auth = (secrets.user.encode(), secrets.password.encode())
    for method, path in (("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook"), ("GET", "/versions")):
        answer = client.request(method, path, json={})
        assert answer.status_code == 404
        assert "not on Label Studio" in answer.json()["detail"]
    assert client.get("/health").is_success
    assert client.get("/api/status").is_success


def test_on_label_studio_there_is_no_webhook_of_argilla(stranger: TestClient, service: Any) -> None:
    sent = event(service)
    service.move_to_label_studio()
    answer = stranger.post(PATH, json=sent, headers={"webhook-signature": service.signed})
    assert answer.status_code == 404
    assert "not on Argilla" in answer.json()["detail"]
