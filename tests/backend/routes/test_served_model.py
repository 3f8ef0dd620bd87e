"""A model served alone: its routes, those that it has not, and projects that ask otherwise than it knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_model_app
from nextlabel.backend.frozen import FrozenModel
from nextlabel.backend.questions import question_of
from nextlabel.backend.serving.served_model import ServedModel
from nextlabel.backend.settings import Settings
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.records import Labeling, LabelKind

from .conftest import SECRETS

BEARER = {"Authorization": f"Bearer {SECRETS.api_token}"}
CONFIG = (
    '<View><Header value="$title"/><Text name="t" value="$review"/><Choices name="c" toName="t" choice="single">{}'
    "</Choices></View>"
)


def config(*labels: str) -> str:
    return CONFIG.format("".join(f'<Choice value="{label}"/>' for label in labels))


def shouting(contents: Sequence[Readable]) -> npt.NDArray[np.float32]:
    """Texts in capitals are rude."""
    rude = np.array([0.75 if text_of(one).isupper() else 0.25 for one in contents], np.float32)
    return np.stack([rude, 1 - rude], axis=1)


@pytest.fixture
def client() -> Iterator[TestClient]:
    model = FrozenModel("shouting-1", question_of(Labeling(LabelKind.SINGLE, ("rude", "fine"))), shouting)
    served = ServedModel(model)
    with TestClient(create_model_app(served, Settings(), secrets=SECRETS), headers=BEARER) as client:
        yield client
    served.stop()


def test_texts_are_predicted_and_blank_ones_are_not(client: TestClient) -> None:
    answer = client.post("/api/predict", json={"texts": ["GO AWAY", "please stay"]}).json()
    assert answer["model_version"] == "shouting-1"
    assert [one["label"] for one in answer["predictions"]] == ["rude", "fine"]
    assert answer["predictions"][0]["probabilities"] == {"rude": 0.75, "fine": 0.25}
    assert client.post("/api/predict", json={"text": "  "}).status_code == 422


def test_tasks_of_any_project_are_predicted_in_its_own_names(client: TestClient) -> None:
    tasks = [{"id": 4, "data": {"review": "GO AWAY", "title": "a title"}}, {"id": 5, "data": {"review": " "}}]
    body = {"tasks": tasks, "project": "9.17", "label_config": config("fine", "rude")}
    found, blank = client.post("/predict", json=body).json()["results"]
    [region] = found["result"]
    assert (region["from_name"], region["to_name"]) == ("c", "t")
    assert region["value"] == {"choices": ["rude"]}
    assert (found["model_version"], found["score"]) == ("shouting-1", 0.75)
    assert (blank["result"], blank["score"]) == ([], 0.0)
    assert client.get("/api/model").json()["notes"] == {}


def test_without_a_config_the_field_is_called_text(client: TestClient) -> None:
    answer = client.post("/predict", json={"tasks": [{"data": {"text": "GO AWAY"}}]}).json()
    assert answer["results"][0]["result"][0]["value"] == {"choices": ["rude"]}


def test_a_label_that_the_project_lacks_is_told_and_not_suggested(client: TestClient) -> None:
    assert client.post("/setup", json={"schema": config("fine", "harsh")}).json() == {"model_version": "shouting-1"}
    assert "lacks the labels rude" in client.get("/api/model").json()["notes"]["labeling"]
    tasks = [{"id": 1, "data": {"review": "GO AWAY"}}, {"id": 2, "data": {"review": "please"}}]
    body = {"tasks": tasks, "label_config": config("fine", "harsh")}
    rude, fine = client.post("/predict", json=body).json()["results"]
    assert rude["result"] == []
    assert fine["result"][0]["value"] == {"choices": ["fine"]}
    client.post("/setup", json={"schema": config("fine", "rude")})
    assert client.get("/api/model").json()["notes"] == {}


def test_it_says_what_it_is_and_learns_from_nothing(client: TestClient) -> None:
    assert client.get("/api/model").json() == {
        "model_version": "shouting-1",
        "kind": "single",
        "labels": ["rude", "fine"],
        "fields": {"text": "text"},
        "notes": {},
    }
    assert client.get("/versions").json() == {"versions": ["shouting-1"]}
    assert "does not learn" in client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).json()["status"]
    assert {client.post(path, json={}).status_code for path in ("/api/train", "/api/compare")} == {404}
    assert client.get("/api/status").status_code == 404


def test_only_health_and_ready_are_open(client: TestClient) -> None:
    client.headers.pop("Authorization")
    assert client.get("/health").json()["status"] == "UP"
    assert client.get("/ready").json() == {"status": "READY"}
    closed = ("/api/model", "/versions", "/metrics", "/docs", "/openapi.json")
    assert {client.get(path).status_code for path in closed} == {401}
    assert {client.post(path, json={}).status_code for path in ("/api/predict", "/predict", "/setup", "/webhook")} == {
        401
    }


def test_metrics_count_what_was_predicted(client: TestClient) -> None:
    client.post("/api/predict", json={"texts": ["a", "b", "c"]})
    text = client.get("/metrics").text
    assert 'nextlabel_predictions_total{route="/api/predict"} 3.0' in text
    assert "nextlabel_records" not in text


def test_the_page_of_the_api_names_its_routes_alone(client: TestClient) -> None:
    paths = set(client.get("/openapi.json").json()["paths"])
    general = {"/", "/health", "/ready", "/metrics", "/api/model", "/api/predict"}
    assert paths == general | {"/setup", "/predict", "/webhook", "/versions"}
