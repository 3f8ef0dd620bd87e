"""Training through the API."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.connectors.errors import LearningError, Overloaded

PATH = "/api/train"


def test_ask_and_see(client: TestClient) -> None:
    answer = client.post(PATH)
    assert (answer.status_code, answer.json()) == (200, {"asked": True})
    assert client.get("/api/status").json()["training"]["ended"] == 1


@pytest.mark.parametrize(
    ("failure", "status"), [(LearningError("the encoder has nothing to train"), 409), (Overloaded("stands by"), 503)]
)
def test_a_refusal_says_its_reason(client: TestClient, service: Any, failure: Exception, status: int) -> None:
    service.failure = failure
    answer = client.post(PATH)
    assert (answer.status_code, answer.json()["detail"]) == (status, str(failure))


def test_cancel_says_whether_there_was_one(client: TestClient, service: Any) -> None:
    service.training = {"stage": "training"}
    assert [client.delete(PATH).json()["cancelled"] for _ in range(2)] == [True, False]


def test_strangers_may_neither_train_nor_cancel(stranger: TestClient, service: Any) -> None:
    assert [stranger.post(PATH).status_code, stranger.delete(PATH).status_code] == [401, 401]
    assert service.training == {"ended": 0}
