"""Log and platform compared on request, and what the last comparison came to."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.cli.status_words import sentence
from nextlabel.connectors.errors import Overloaded


def test_a_comparison_is_asked_for(client: TestClient, service: Any) -> None:
    assert client.post("/api/compare", json={}).json() == {"number": 1}
    assert client.post("/api/compare", json={"believe": True}).json() == {"number": 2}
    assert client.post("/api/compare", json={"keep": True}).json() == {"number": 3}
    assert service.compared == ["", "platform", "ours"]


@pytest.mark.parametrize("body", [{"believe": "perhaps"}, {"believe_all": True}])
def test_what_is_not_understood_is_refused(client: TestClient, service: Any, body: dict[str, Any]) -> None:
    assert client.post("/api/compare", json=body).status_code == 422
    assert service.compared == []


def test_one_side_is_right(client: TestClient, service: Any) -> None:
    answer = client.post("/api/compare", json={"believe": True, "keep": True})
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "believe the platform, or keep what is here: not both",
    )
    assert service.compared == []


def test_a_standby_says_so(client: TestClient, service: Any) -> None:
    service.failure = Overloaded("this service stands by; ask the one that leads")
    answer = client.post("/api/compare", json={})
    assert (answer.status_code, answer.json()["detail"]) == (503, str(service.failure))


def test_it_is_for_known_callers(stranger: TestClient, service: Any, secrets: Any) -> None:
    stranger.headers["X-Nextlabel-Secret"] = secrets.webhook_secret
    assert stranger.post("/api/compare", json={}).status_code == 401
    assert service.compared == []


def test_status_and_metrics_say_what_it_came_to(client: TestClient) -> None:
    found = client.get("/api/status").json()["comparison"]
    assert sentence(found) == "log and platform agree: 1,240 answers, compared 3 minutes ago"
    text = client.get("/metrics").text
    assert "nextlabel_compared_age_seconds 180.0" in text
    assert "nextlabel_compared_answers 1240.0" in text
    assert "nextlabel_withheld 0.0" in text


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"ended": 0, "running": False}, ""),
        ({"ended": 0, "running": True}, "being compared for the first time"),
        (
            {"answers": 3, "found": 2, "withheld": 0, "agree": True, "age_s": 5},
            "log and platform agree: 3 answers, compared 5 seconds ago, 2 rows were found by it",
        ),
        (
            {"answers": 0, "found": 0, "withheld": 1240, "agree": False, "age_s": 7300},
            "log and platform differ in 1,240 answers or records, compared 2 hours ago; if the platform is right: "
            "nextlabel compare --believe; if what is here is right: nextlabel compare --keep",
        ),
        (
            {"answers": 3, "found": 0, "withheld": 0, "agree": True, "age_s": 5, "kept": 2},
            "log and platform agree: 3 answers, compared 5 seconds ago, 2 that it lacks are kept",
        ),
    ],
)
def test_in_words(found: dict[str, Any], says: str) -> None:
    assert sentence(found) == says
