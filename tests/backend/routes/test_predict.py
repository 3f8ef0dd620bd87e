"""POST /api/predict, for curl."""

from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from nextlabel.backend.routes.predict import MAX_CHARACTERS, MAX_IMAGE, Texts, _records
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record, Span, Suggestion

PICTURE = "data:image/svg+xml;base64," + "QUJD" * 1000


def spied(service: Any) -> list[Record]:
    """The records that are predicted from now on."""
    seen: list[Record] = []
    predict = service.predict

    async def spy(records: Any) -> Any:
        seen.extend(records)
        return await predict(records)

    service.predict = spy
    return seen


def test_one_text(client: TestClient) -> None:
    answer = client.post("/api/predict", json={"text": "hello"}).json()
    assert answer == {
        "model_version": "nl-1",
        "predictions": [
            {
                "label": "sport",
                "labels": ["sport"],
                "spans": [],
                "score": 0.75,
                "probabilities": {"sport": 0.75, "business": 0.25},
                "problem": "",
            }
        ],
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


MEMES = Labeling(LabelKind.SINGLE, ("cat",), (Field("caption"), Field("picture", FieldKind.IMAGE)))


@pytest.mark.parametrize("picture", ["https://example.org/a.png", "data:image/png;base64,iVBORw0KGgo=", PICTURE])
def test_an_image_is_sent_by_address_or_as_it_is(client: TestClient, service: Any, picture: str) -> None:
    service.labeling = MEMES
    seen = spied(service)
    assert client.post("/api/predict", json={"image": picture}).is_success
    assert client.post("/api/predict", json={"records": [{"caption": "miau", "picture": picture}]}).is_success
    assert [record.fields for record in seen] == [{"picture": picture}, {"caption": "miau", "picture": picture}]


@pytest.mark.parametrize(
    "picture",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../secret.png",
        "ftp://example.org/a.png",
        "http://",
        "https:// example.org/a.png",
        "data:text/html;base64,AAAA",
        "data:image/png;base64,AAAA%",
        "data:image/png;base64,",
        "data:image/png,plain",
    ],
)
def test_what_is_no_image_is_refused(client: TestClient, service: Any, picture: str) -> None:
    service.labeling = MEMES
    for body in ({"image": picture}, {"records": [{"caption": "fine", "picture": picture}]}):
        answer = client.post("/api/predict", json=body)
        assert answer.status_code == 422
        assert "image number 0" in answer.json()["detail"]


def test_images_have_a_limit_of_their_own() -> None:
    url = "data:image/png;base64,"
    assert _records(Texts(records=[{"picture": url + "A" * MAX_CHARACTERS}]), MEMES)
    with pytest.raises(HTTPException, match="longer than 16777216"):
        _records(Texts(records=[{"picture": url + "A" * MAX_IMAGE}]), MEMES)


def test_a_project_without_images_says_so(client: TestClient) -> None:
    answer = client.post("/api/predict", json={"image": "https://example.org/a.png"})
    assert answer.status_code == 422
    assert "no image field" in answer.json()["detail"]


def test_the_version_is_that_of_the_model_that_answered(client: TestClient, service: Any) -> None:
    async def predict(records: Any) -> list[Suggestion]:
        return [Suggestion(("sport",), 0.75, "probe-7")]

    service.predict = predict
    assert client.post("/api/predict", json={"text": "x"}).json()["model_version"] == "probe-7"


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
        {"image": 7},
        {"text": "a", "image": "https://example.org/a.png"},
    ],
)
def test_what_is_no_text_is_refused_with_words(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/api/predict", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_long_texts_are_read_and_longer_ones_refused(client: TestClient, app: Any) -> None:
    assert client.post("/api/predict", json={"text": "a" * 100_000}).is_success
    assert client.post("/api/predict", json={"text": "a" * 300_000}).status_code == 413
    labeling = Labeling(LabelKind.SINGLE, ("sport",))
    with pytest.raises(HTTPException, match="longer than"):
        _records(Texts(records=[{"text": "a" * (MAX_CHARACTERS + 1)}]), labeling)


def test_half_a_surrogate_pair_is_repaired(client: TestClient, service: Any) -> None:
    seen = spied(service)
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
