"""Asking again through the API."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.connectors.errors import (
    ConfigError,
    Overloaded,
    PlatformError,
    PlatformUnavailable,
    RecordsRejected,
    Unauthorized,
)

PATH = "/api/relabel"


def test_each_record_is_asked_about_once(client: TestClient, service: Any) -> None:
    answer = client.post(PATH, json={"uids": ["u1", "u2", "u1"], "opinions": 3})
    assert (answer.status_code, answer.json()) == (200, {"asked": 2})
    assert client.post(PATH, json={"uids": ["u3"]}).json() == {"asked": 1}
    assert service.asked == [(("u1", "u2"), 3), (("u3",), None)]


@pytest.mark.parametrize(
    "body", [{}, {"uids": []}, {"uids": "u1"}, {"uids": ["u1"], "opinions": 1}, {"uids": [1]}, {"uids": ["u"] * 10_001}]
)
def test_what_makes_no_sense_is_refused(client: TestClient, service: Any, body: Any) -> None:
    assert client.post(PATH, json=body).status_code == 422
    assert service.asked == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (ConfigError("there is no record 'u1'"), 422),
        (PlatformError("fixed at 2 since people have answered", status=400), 409),
        (RecordsRejected("task 7 is gone", sent=1, stored=0), 409),
        (PlatformUnavailable("down"), 503),
        (Unauthorized("token"), 503),
        (Overloaded("stands by"), 503),
    ],
)
def test_a_failure_says_its_reason(client: TestClient, service: Any, failure: Exception, status: int) -> None:
    service.failure = failure
    answer = client.post(PATH, json={"uids": ["u1"]})
    assert (answer.status_code, answer.json()["detail"]) == (status, str(failure))


def test_strangers_may_not_ask(stranger: TestClient, service: Any) -> None:
    assert stranger.post(PATH, json={"uids": ["u1"]}).status_code == 401
    assert service.asked == []
