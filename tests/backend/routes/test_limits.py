"""What a body may be: its bytes, announced or not, its values, and the time that it may take."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from nextlabel.backend.routes.bodies import MIB, OTHERS, LimitBodies, ValueCount
from nextlabel.backend.routes.middleware import SECRET_HEADER

HEADERS = {"Content-Type": "application/json"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few values are many."""
    monkeypatch.setattr("nextlabel.backend.routes.bodies.VALUES", 100)


@pytest.mark.parametrize("path", ["/webhook", "/predict", "/setup", "/api/predict"])
def test_an_announced_length_is_refused_before_it_is_read(client: TestClient, path: str) -> None:
    answer = client.post(path, content=b" " * 200_001, headers=HEADERS)
    assert answer.status_code == 413
    assert "200000 bytes" in answer.json()["detail"]


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b" " * 1000


def test_chunks_are_counted(client: TestClient) -> None:
    assert client.post("/webhook", content=chunks(201), headers=HEADERS).status_code == 413
    assert client.post("/webhook", content=chunks(199), headers=HEADERS).status_code == 400  # only blanks: not JSON


@pytest.mark.parametrize("length", ["9" * 30, "-5", "abc", "1e9"])
def test_a_length_that_lies_does_no_harm(client: TestClient, length: str) -> None:
    answer = client.post("/setup", content=b"{}", headers={**HEADERS, "Content-Length": length})
    assert answer.status_code < 500


def test_a_stranger_is_turned_away_before_the_body_is_read(stranger: TestClient) -> None:
    assert stranger.post("/webhook", content=b" " * 200_001, headers=HEADERS).status_code == 401


def test_each_route_takes_what_it_needs(app: FastAPI) -> None:
    limits = LimitBodies(app, limit=32 * MIB)
    assert limits.largest("/predict") == limits.largest("/api/predict") == 32 * MIB
    assert limits.largest("/webhook") == limits.largest("/webhook/argilla") == 8 * MIB
    assert limits.largest("/api/compare") == limits.largest("/no-such-page") == OTHERS


@pytest.mark.parametrize("value", ["0", "[]", "{}", '""', '","', '"\\""'])
def test_values_are_counted_before_they_are_parsed(client: TestClient, value: str, small: None) -> None:
    def body(count: int) -> str:
        return '{"action": "X", "tasks": [' + ", ".join([value] * count) + "]}"

    for path in ("/webhook", "/predict"):
        assert client.post(path, content=body(30), headers=HEADERS).status_code in (200, 422)
        answer = client.post(path, content=body(101), headers=HEADERS)
        assert answer.status_code == 413
        assert "more than 100 values" in answer.json()["detail"]


def test_commas_of_texts_are_no_values(client: TestClient, small: None) -> None:
    assert client.post("/api/predict", json={"text": 'a, [b], {c}, \\", ' * 100}).status_code == 200


@pytest.mark.parametrize(
    "text", ['["a, b", {"c": [1, 2]}, "\\\\", "\\"", "[{,"]', '{"a": "é\\u00e9", "b": [[], [[]]]}']
)
def test_values_are_counted_alike_wherever_a_body_is_cut(text: str) -> None:
    whole = ValueCount(texts=True).count(text.encode())
    assert whole == 8 if "a, b" in text else 5
    for length in range(1, 6):
        count = ValueCount(texts=True)
        pieces = [text.encode()[at : at + length] for at in range(0, len(text.encode()), length)]
        assert [count.count(piece) for piece in pieces][-1] == whole


def test_an_error_names_the_first_places_only(client: TestClient) -> None:
    answer = client.post("/predict", json={"tasks": [{"data": number} for number in range(2000)]})
    assert answer.status_code == 422
    assert "tasks.0.data" in answer.json()["detail"]
    assert "and 1,995 more" in answer.json()["detail"]
    assert len(answer.content) < 2000
    answer = client.post("/api/predict", json={"x" * 100_000: 1})
    assert answer.status_code == 422
    assert len(answer.content) < 2000


def test_tasks_are_counted_before_they_are_judged(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = client.post("/predict", json={"tasks": [0] * 10_001})
    assert answer.status_code == 422
    assert "at most 10000 items" in answer.json()["detail"]


def held(
    port: int, size: int, path: str = "/webhook", header: str = f"{SECRET_HEADER}: webhook-secret"
) -> socket.socket:
    """A connection on which a body has begun that does not end."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: 199999\r\n\r\n".encode() + b" " * size)
    return connection


def status_on(connection: socket.socket) -> int:
    with connection:
        return int(connection.makefile("rb").readline().split()[1])


def test_a_body_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.routes.bodies.BODY_S", 0.2)
    assert status_on(held(port, 10)) == 408


def test_the_largest_goes_where_too_much_is_held(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = held(port, 190_000)
    others = [held(port, 190_000) for _ in range(100)]  # more than 16 MiB
    assert status_on(first) == 408
    whole = {"action": "X"}
    url, secret = f"http://127.0.0.1:{port}/webhook", {SECRET_HEADER: "webhook-secret"}
    assert httpx.post(url, json=whole, headers=secret, trust_env=False, timeout=20).status_code == 200
    for connection in others:
        connection.close()


def test_a_caller_that_hangs_up_is_no_defect(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    held(port, 10).close()
    assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=20).status_code == 200
    assert "defect" not in capfd.readouterr().out


def test_the_oldest_goes_where_too_many_are_held(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = held(port, 10)
    others = [held(port, 10, "/webhook/argilla", "webhook-signature: x") for _ in range(70)]
    url = f"http://127.0.0.1:{port}/webhook"
    secret = {SECRET_HEADER: "webhook-secret"}
    assert httpx.post(url, json={"action": "X"}, headers=secret, trust_env=False, timeout=20).status_code == 200
    assert status_on(first) == 408
    for connection in others:
        connection.close()


def test_an_unsigned_delivery_is_not_read(port: int, service: Any) -> None:
    service.move_to_argilla()
    assert status_on(held(port, 10, "/webhook/argilla", "x-nothing: x")) == 401
