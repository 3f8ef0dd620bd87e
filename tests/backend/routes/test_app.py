"""The app around the routes: headers, defects, metrics, and a real server on a real socket."""

from __future__ import annotations

import re
import socket
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_app
from nextlabel.backend.cli.status_words import rows
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.settings import Settings


def test_every_answer_tells_browsers_to_trust_nothing(stranger: TestClient) -> None:
    for path in ("/health", "/nowhere", "/api/status"):
        headers = stranger.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_api_page_may_load_its_scripts(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.is_success
    assert "script-src 'self' 'unsafe-inline';" in page.headers["Content-Security-Policy"]
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith("/"), "the page needs no other host"
        assert client.get(address).is_success


def test_a_defect_is_a_500_without_details(client: TestClient, service: Any) -> None:
    service.failure = RuntimeError("token=geheim")
    answer = client.post("/api/predict", json={"text": "x"})
    assert answer.status_code == 500
    assert "geheim" not in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/setup", 405)])
def test_what_is_not_there_says_so_in_json(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_status_is_json_even_where_a_figure_is_not_finite(client: TestClient) -> None:
    status = client.get("/api/status").json()
    assert status["project"]["id"] == "9"
    assert status["labelled"] == 40
    assert status["label_to_queue_p95"] is None
    assert status["audit"]["accuracy"] == 0.9
    assert status["notes"] == {}
    assert [one["message"] for one in status["notices"]] == ["it is odd"]
    assert dict(rows(status))["notice: annotation"] == "it is odd; to mend it: mend it"


def test_metrics_show_the_loop_and_the_requests(client: TestClient) -> None:
    client.get("/versions")
    client.get("/one"), client.get("/two")
    text = client.get("/metrics").text
    for line in (
        "nextlabel_log_rows_total 41.0",
        "nextlabel_generation_log_head 40.0",
        "nextlabel_label_to_queue_p50_seconds 0.4",
        "# TYPE nextlabel_label_to_queue_seconds histogram",
        'nextlabel_label_to_queue_seconds_bucket{le="0.5"} 3.0',
        'nextlabel_label_to_queue_seconds_bucket{le="1.0"} 4.0',
        'nextlabel_label_to_queue_seconds_bucket{le="+Inf"} 5.0',
        "nextlabel_label_to_queue_seconds_count 5.0",
        "nextlabel_label_to_queue_seconds_sum 7.5",
        "nextlabel_lease_left_seconds 11.5",
        "nextlabel_lease_since_timestamp_seconds 1.795998834e+09",
        'nextlabel_lease_info{owner="vm:17:ab"} 1.0',
        'nextlabel_serving_info{generation="nl-1-7",model_version="nl-1"} 1.0',
        'nextlabel_notices{kind="annotation"} 3.0',
        'nextlabel_request_seconds_count{route="/versions",status="200"} 1.0',
        'nextlabel_request_seconds_count{route="other",status="404"} 2.0',
    ):
        assert line in text


def test_metrics_when_nobody_leads(client: TestClient, service: Any) -> None:
    service.lease = {}
    text = client.get("/metrics").text
    assert "nextlabel_lease_left_seconds 0.0" in text
    assert 'nextlabel_lease_info{owner=""} 1.0' in text
    assert "nextlabel_lease_since" not in text


def test_two_apps_in_one_process_do_not_mix(service: Any, tmp_path: Any, secrets: Credentials) -> None:
    first, second = (create_app(service, Settings(home=tmp_path), secrets=secrets) for _ in range(2))
    with TestClient(first) as one, TestClient(second) as other:
        headers = {"Authorization": f"Bearer {secrets.api_token}"}
        one.get("/versions", headers=headers)
        assert 'route="/versions"' in one.get("/metrics", headers=headers).text
        assert 'route="/versions"' not in other.get("/metrics", headers=headers).text


def test_secrets_are_made_and_kept_when_none_are_given(service: Any, tmp_path: Any) -> None:
    create_app(service, Settings(home=tmp_path))
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


# -- over a real socket ----------------------------------------------------------------------


def exchange(port: int, *parts: bytes) -> bytes:
    """Send raw bytes, return the first line of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break  # the server has seen enough
        return connection.makefile("rb").readline()


def test_a_chunked_body_over_the_limit(port: int) -> None:
    head = (
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Nextlabel-Secret: webhook-secret\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"c350\r\n" + b" " * 50_000 + b"\r\n"
    assert b" 413 " in exchange(port, head, *[chunk] * 5, b"0\r\n\r\n")


def test_a_length_that_is_none(port: int) -> None:
    head = b"POST /setup HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n"
    assert b" 400 " in exchange(port, head)


def test_a_huge_length_without_a_body(port: int) -> None:
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Nextlabel-Secret: webhook-secret\r\n"
    head += b"Content-Length: 99999999999\r\n\r\n"
    assert b" 413 " in exchange(port, head)


def test_a_stranger_on_the_wire(port: int) -> None:
    assert b" 401 " in exchange(port, b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in exchange(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")


def test_a_caller_that_hangs_up_does_not_undo_the_event(port: int, service: Any) -> None:
    body = b'{"action": "TASKS_CREATED"}'
    arrived = threading.Event()
    notify = service.notify

    def noted(hint: Any) -> bool:
        notify(hint)
        arrived.set()
        return True

    service.notify = noted
    head = (
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Nextlabel-Secret: webhook-secret\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head + body)
    assert arrived.wait(10)
    assert len(service.heard) == 1
