"""The webhook of Argilla: signed, server-wide, repeated."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LabelingMismatch, StoreFull
from nextlabel.connectors.records import AnnotationStatus, Changes

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


def test_an_event_is_in_the_log_when_it_is_answered(client: TestClient, service: Any, secrets: Any) -> None:
    answer = client.post(PATH, json=event(service))
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "new": 1})
    [one] = service.taken[0].annotations
    assert (one.remote_id, one.value, one.status) == (
        "0d6d6c2e-54b3-4a8c-9c7e-16cf4d7c0a01",
        ("sport",),
        AnnotationStatus.SUBMITTED,
    )
    assert counted(client, secrets, "response.created", "taken in")


def test_a_deletion(client: TestClient, service: Any) -> None:
    assert client.post(PATH, json=event(service, "response.deleted")).is_success
    assert service.taken == [Changes(deleted_annotations=("b4f7c2de-2c5f-4f6c-8a8e-0d4d5b7d1d10",))]


@pytest.mark.parametrize("shown", [None, "", "v1,", "v1,forged", "\xff"])
def test_what_the_platform_did_not_sign_is_refused_unread(
    stranger: TestClient, service: Any, secrets: Any, shown: str | None
) -> None:
    headers = {} if shown is None else {"webhook-signature": shown.encode("latin-1")}
    stranger.auth = (secrets.user.encode(), secrets.password.encode())
    for body in (b"no JSON", b"\xff", b'{"type": "ping"}'):
        answer = stranger.post(PATH, content=body, headers=headers)
        assert answer.status_code == 401, "basic auth does not help: only the signature counts"
        assert "signature" in answer.json()["detail"]
    assert service.taken == []


def test_the_body_is_judged_as_it_came(client: TestClient, service: Any) -> None:
    seen = []
    service.authentic = lambda headers, body: not seen.append((dict(headers), body))
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
    assert service.taken == []
    assert counted(client, secrets, "ping", "nothing to do")
    assert not counted(client, secrets, "user.created", "nothing to do")


def test_events_of_other_datasets_change_nothing(client: TestClient, service: Any, secrets: Any) -> None:
    other = event(service)
    other["data"]["record"]["dataset"]["id"] = "11111111-2222-3333-4444-555555555555"
    answer = client.post(PATH, json=other)
    assert (answer.status_code, answer.json()["new"]) == (200, 0)
    assert "ignored" in answer.json()["status"]
    assert service.taken == []
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
        (lambda body: body["data"].pop("user"), 400),
        (lambda body: body["data"].update(updated_at="yesterday"), 400),
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
    assert service.taken == []


def test_a_label_that_we_do_not_know_is_refused(client: TestClient, service: Any) -> None:
    def refuse(body: dict[str, Any]) -> Changes:
        raise LabelingMismatch("the question has no label 'economy'")

    service.parse_event = refuse
    assert client.post(PATH, json=event(service)).status_code == 400


def test_a_repeated_delivery_changes_nothing(client: TestClient, service: Any, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.sqlite") as store:
        service.take_in = store.append
        answers = [client.post(PATH, json=event(service)).json()["new"] for _ in range(3)]
        late = event(service, "response.updated", updated_at="2026-11-22T03:59:00.000000", status="draft")
        assert client.post(PATH, json=late).is_success
        assert answers == [1, 0, 0]
        [one] = store.answers()
        assert one.status is AnnotationStatus.SUBMITTED, "old news does not undo what is known"


def test_a_full_disk_is_said_and_the_delivery_may_come_again(client: TestClient, service: Any) -> None:
    service.failure = StoreFull("the disk under the store is full; free some space")
    answer = client.post(PATH, json=event(service))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    service.failure = None
    assert client.post(PATH, json=event(service)).is_success
    assert len(service.taken) == 1


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
