"""The ML-backend protocol as Label Studio 1.23 speaks it."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Hint, Suggestion

CONFIG = """<View><Text name="text" value="$text"/>
<Choices name="label" toName="text"><Choice value="sport"/><Choice value="business"/></Choices></View>"""


def task(number: int, text: str = "The striker scored twice.") -> dict[str, Any]:
    return {"id": number, "data": {"text": text}, "project": 9}


def test_health_and_setup_answer_what_label_studio_reads(client: TestClient) -> None:
    assert client.get("/health").is_success
    asked = {
        "project": "9.1795320086",
        "schema": CONFIG,
        "hostname": "http://x",
        "access_token": "t",
        "extra_params": {},
    }
    assert client.post("/setup", json=asked).json() == {"model_version": "nl-1"}


def test_setup_of_another_project_is_refused_with_words(client: TestClient) -> None:
    answer = client.post("/setup", json={"project": "10.1795320086", "schema": CONFIG})
    assert answer.status_code == 409
    assert "project 9" in answer.json()["detail"]


def test_a_changed_labeling_shows_in_the_status_until_it_is_repaired(client: TestClient) -> None:
    client.post("/setup", json={"project": "9.1", "schema": CONFIG.replace("business", "economy")})
    note = client.get("/api/status").json()["notes"]["labeling"]
    assert "economy" in note
    assert "business" in note
    client.post("/setup", json={"project": "9.1", "schema": CONFIG})
    assert "labeling" not in client.get("/api/status").json()["notes"]


def test_a_config_that_is_no_xml_is_noted_not_refused(client: TestClient) -> None:
    assert client.post("/setup", json={"schema": "<View"}).is_success
    assert "labeling" in client.get("/api/status").json()["notes"]


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_predict_answers_every_task_in_order(client: TestClient, count: int) -> None:
    answer = client.post("/predict", json={"tasks": [task(n) for n in range(count)], "project": "9.1"})
    results = answer.json()["results"]
    assert len(results) == count
    assert results[0]["result"][0]["value"] == {"choices": ["sport"]}
    assert {one["model_version"] for one in results} == {"nl-1"}
    assert all(0 <= one["score"] <= 1 for one in results)


def test_no_tasks_no_results(client: TestClient) -> None:
    assert client.post("/predict", json={"tasks": []}).json() == {"results": []}


def test_one_answer_carries_one_version(client: TestClient, service: Any) -> None:
    """Also of a model that another has replaced while it answered."""

    async def predict(records: Any) -> list[Suggestion | None]:
        return [None, Suggestion(("sport",), 0.75, "probe-7")]

    service.predict = predict
    tasks = [{"id": number, "data": {"text": "a"}} for number in (1, 2)]
    results = client.post("/predict", json={"tasks": tasks}).json()["results"]
    assert [one["model_version"] for one in results] == ["probe-7", "probe-7"]


def test_a_record_of_the_audit_slice_stays_blind(client: TestClient, service: Any) -> None:
    service.blind = {"u1"}
    tasks = [
        {"id": 1, "data": {"text": "a", "nextlabel_uid": "u1"}},
        {"id": 2, "data": {"text": "b", "nextlabel_uid": "u2"}},
    ]
    blind, shown = client.post("/predict", json={"tasks": tasks}).json()["results"]
    assert blind["result"] == []
    assert shown["result"] != []
    assert blind["model_version"] == shown["model_version"]


def test_interactive_prediction_takes_the_context(client: TestClient) -> None:
    context = {"result": [{"type": "choices", "value": {"choices": ["business"]}}]}
    body = {"tasks": [{**task(1), "drafts": [], "annotations": []}], "project": "9.1", "params": {"context": context}}
    assert len(client.post("/predict", json=body).json()["results"]) == 1


def test_a_project_made_by_hand_gets_its_own_names(client: TestClient) -> None:
    theirs = CONFIG.replace('name="label"', 'name="desk"').replace('name="text"', 'name="body"')
    theirs = theirs.replace('toName="text"', 'toName="body"')
    (region,) = client.post("/predict", json={"tasks": [task(1)], "label_config": theirs}).json()["results"][0][
        "result"
    ]
    assert (region["from_name"], region["to_name"]) == ("desk", "body")


def test_a_client_that_sends_no_config_gets_the_names_of_the_project(client: TestClient, service: Any) -> None:
    service.config = (
        '<View><Text name="words" value="$text"/><Choices name="topic" toName="words">'
        '<Choice value="sport"/><Choice value="business"/></Choices></View>'
    )
    answer = client.post("/predict", json={"tasks": [{"id": 1, "data": {"text": "a"}}]}).json()
    [region] = answer["results"][0]["result"]
    assert (region["from_name"], region["to_name"]) == ("topic", "words")


def test_ml_backends_answer_at_their_root_too(client: TestClient) -> None:
    assert client.get("/").json() == client.get("/health").json()


def test_a_label_that_the_project_lost_is_not_suggested(client: TestClient) -> None:
    theirs = CONFIG.replace('<Choice value="sport"/>', "")
    (one,) = client.post("/predict", json={"tasks": [task(1)], "label_config": theirs}).json()["results"]
    assert one["result"] == []
    assert "sport" in client.get("/api/status").json()["notes"]["labeling"]


def test_predictions_for_another_project_are_refused(client: TestClient) -> None:
    assert client.post("/predict", json={"tasks": [task(1)], "project": "12.1"}).status_code == 409


def test_without_a_model_the_platform_is_asked_to_come_back(client: TestClient, service: Any) -> None:
    service.failure = LearningError("there is no model yet")
    answer = client.post("/predict", json={"tasks": [task(1)]})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["detail"] == "there is no model yet"


def test_versions(client: TestClient) -> None:
    assert client.get("/versions").json() == {"versions": ["nl-1", "nl-0"]}


# -- webhook ---------------------------------------------------------------------------------------------------------


def counted(client: TestClient, action: str, outcome: str) -> bool:
    line = f'nextlabel_webhook_events_total{{action="{action}",outcome="{outcome}"}} 1.0'
    return line in client.get("/metrics").text


def test_an_event_says_where_to_look(client: TestClient, service: Any) -> None:
    event = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 44}], "project": {"id": 9}}
    assert client.post("/webhook", json=event).json() == {"status": "ok"}
    assert service.heard == [Hint(annotations={"44": None})]
    assert counted(client, "ANNOTATIONS_DELETED", "followed")


def test_more_events_than_can_be_followed_are_counted(client: TestClient, service: Any) -> None:
    service.has_room = False
    assert client.post("/webhook", json={"action": "TASKS_CREATED"}).is_success
    assert counted(client, "TASKS_CREATED", "too many")


def test_start_training_wakes_the_loop(client: TestClient, service: Any) -> None:
    assert client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 9}}).is_success
    assert service.heard == [Hint(train_requested=True)]


def test_the_secret_alone_starts_no_training(stranger: TestClient, service: Any, secrets: Any) -> None:
    """Every member of the organisation may read it. Label Studio's own button sends the ML backend's basic auth."""
    stranger.headers["X-Nextlabel-Secret"] = secrets.webhook_secret
    answer = stranger.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 9}})
    assert answer.status_code == 403
    assert "basic auth" in answer.json()["detail"]
    assert service.heard == []
    assert stranger.post("/webhook", json={"action": "TASKS_CREATED"}).is_success


def test_events_of_another_project_change_nothing(client: TestClient, service: Any) -> None:
    event = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 44}], "project": {"id": 10}}
    answer = client.post("/webhook", json=event)
    assert answer.status_code == 200
    assert "ignored" in answer.json()["status"]
    assert service.heard == []
    assert counted(client, "ANNOTATIONS_DELETED", "other project")


def test_before_the_project_is_known_everybody_is_ours(client: TestClient, service: Any) -> None:
    project, service.project = service.project, None
    assert client.post("/setup", json={"project": "10.1"}).is_success
    service.project = project
    assert client.post("/setup", json={"project": "10.1"}).status_code == 409


def test_an_unknown_action_is_acknowledged_and_makes_no_series(client: TestClient, service: Any) -> None:
    for name in ("REVIEW_CREATED", "x" * 1000, ""):
        assert client.post("/webhook", json={"action": name}).status_code == 200
    for no_name in ({}, {"action": None}, {"action": 7}, {"action": ["a"]}):
        assert client.post("/webhook", json=no_name).status_code == 422
    assert service.heard == []
    text = client.get("/metrics").text
    assert "REVIEW_CREATED" not in text
    assert 'action="other",outcome="nothing to do"} 3.0' in text


def test_a_malformed_event_is_refused_with_the_reason(client: TestClient, service: Any) -> None:
    answer = client.post("/webhook", json={"action": "ANNOTATION_CREATED", "annotation": {}})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("ANNOTATION_CREATED: malformed event")
    assert service.heard == []
