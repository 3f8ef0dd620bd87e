"""POST /api/predict, for curl."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.routes.predict import MAX_CHARACTERS
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Span, Suggestion


def test_one_text(client: TestClient) -> None:
    answer = client.post("/api/predict", json={"text": "hello"}).json()
    assert answer == {
        "model_version": "nl-1",
        "predictions": [{"label": "sport", "labels": ["sport"], "spans": [], "score": 0.75}],
    }


def test_several_texts(client: TestClient) -> None:
    assert len(client.post("/api/predict", json={"texts": ["a", "b", "مرحبا 👋"]}).json()["predictions"]) == 3


def test_records_of_several_fields(client: TestClient, service: Any) -> None:
    service.labeling = Labeling(LabelKind.SINGLE, ("sport",), (Field("title"), Field("body")))
    assert client.post("/api/predict", json={"records": [{"title": "a", "body": "b"}]}).is_success
    answer = client.post("/api/predict", json={"records": [{"titel": "a"}]})
    assert answer.status_code == 422
    assert "title, body" in answer.json()["detail"]


def test_a_project_of_images_says_what_to_send(client: TestClient, service: Any) -> None:
    service.labeling = Labeling(LabelKind.SINGLE, ("cat",), (Field("picture", FieldKind.IMAGE),))
    answer = client.post("/api/predict", json={"text": "a"})
    assert answer.status_code == 422
    assert "picture" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": None},
        {"text": ""},
        {"text": " \n"},
        {"text": 7},
        {"text": ["a"]},
        {"text": "a", "texts": ["b"]},
        {"texts": []},
        {"texts": "a"},
        {"texts": ["a", ""]},
        {"texts": [None]},
        {"texts": ["a"] * 1001},
        {"records": [{}]},
        {"records": [{"text": 3}]},
        {"txet": "a"},
    ],
)
def test_what_is_no_text_is_refused_with_words(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/api/predict", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_long_texts_are_read_and_longer_ones_refused(client: TestClient, app: Any) -> None:
    assert client.post("/api/predict", json={"text": "a" * 100_000}).is_success
    assert client.post("/api/predict", json={"text": "a" * 300_000}).status_code == 413
    from nextlabel.backend.routes.predict import Texts, _records

    labeling = Labeling(LabelKind.SINGLE, ("sport",))
    with pytest.raises(Exception, match="longer than"):
        _records(Texts(records=[{"text": "a" * (MAX_CHARACTERS + 1)}]), labeling)


def test_half_a_surrogate_pair_is_repaired(client: TestClient, service: Any) -> None:
    seen = []
    predict = service.predict

    async def spy(records: Any) -> Any:
        seen.extend(records)
        return await predict(records)

    service.predict = spy
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/predict", content=rb'{"text": "a\ud800b \ud83d\ude00"}', headers=headers).is_success
    assert seen[0].fields["text"] == "a\N{REPLACEMENT CHARACTER}b 😀"


@pytest.mark.parametrize(
    ("value", "label", "labels", "spans"),
    [
        ((), None, [], 0),
        (("a", "b"), None, ["a", "b"], 0),
        ((Span(0, 3, "PER"), Span(5, 9, "PER")), None, ["PER"], 2),
    ],
)
def test_other_kinds_of_answers(
    client: TestClient, service: Any, value: Any, label: str | None, labels: list[str], spans: int
) -> None:
    async def predict(records: Any) -> list[Suggestion]:
        return [Suggestion(value, 0.5, "nl-1")]

    service.predict = predict
    (guess,) = client.post("/api/predict", json={"text": "x"}).json()["predictions"]
    assert (guess["label"], guess["labels"], len(guess["spans"])) == (label, labels, spans)


def test_no_model_yet(client: TestClient, service: Any) -> None:
    service.failure = LearningError("no model yet")
    assert client.post("/api/predict", json={"text": "x"}).status_code == 503


def test_a_service_that_loses_count_is_not_believed(client: TestClient, service: Any) -> None:
    async def predict(records: Any) -> list[Suggestion]:
        return []

    service.predict = predict
    assert client.post("/api/predict", json={"text": "x"}).status_code == 503
