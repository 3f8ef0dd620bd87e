"""The request-size limit, for bodies that announce their length and for those that do not."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

HEADERS = {"Content-Type": "application/json"}


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
