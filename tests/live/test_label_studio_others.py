"""What we leave of others' in a project, and how we leave it: on a real Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.connectors.errors import ProjectTaken
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import QueueEntry, Suggestion
from tests.live.conftest import Service
from tests.live.label_studio_calls import api, numbered

Make = Callable[..., LabelStudioConnector]
SPORT = Suggestion(("sport",), 0.9, "model-1")
SETTINGS = ("sampling", "show_collab_predictions", "evaluate_predictions_automatically", "model_version")


def project(server: LabelStudioServer, connector: LabelStudioConnector) -> dict[str, Any]:
    found: dict[str, Any] = api(server, "GET", f"/api/projects/{connector.project.id}").json()
    return found


def listed(server: LabelStudioServer, connector: LabelStudioConnector, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api(server, "GET", f"/api/{what}/?project={connector.project.id}").json()
    return found


def hooked(server: LabelStudioServer, connector: LabelStudioConnector) -> list[tuple[int, str]]:
    return [(one["id"], one["url"]) for what in ("ml", "webhooks") for one in listed(server, connector, what)]


def predict(server: LabelStudioServer, task: str) -> None:
    """A prediction of somebody else's."""
    result = [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["politics"]}}]
    body = {"task": int(task), "model_version": "gpt-4o", "score": 0.5, "result": result}
    api(server, "POST", "/api/predictions/", json=body)


def test_everything_of_ours_is_taken_out_again(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make, service: Service
) -> None:
    connector = label_studio_project()
    ids = list(connector.push(numbered(6)).values())
    theirs = {"sampling": "Sequential sampling", "show_collab_predictions": False, "model_version": "gpt-4o"}
    predict(label_studio, ids[5])
    api(label_studio, "PATCH", f"/api/projects/{connector.project.id}", json=theirs)
    hook = {"url": "http://127.0.0.1:9/theirs", "project": int(connector.project.id), "send_for_all_actions": True}
    api(label_studio, "POST", "/api/webhooks/", json=hook)
    with Annotator(label_studio.url, annotators[0], connector.project.id) as annotator:
        answer = annotator.submit(int(ids[0]), "sport")
    before = project(label_studio, connector)
    settings = connector.settings()
    connector.connect(service.address())
    connector.publish("nl-leave-1", [QueueEntry(one, rank, SPORT) for rank, one in enumerate(ids)])
    connector.ask_again(ids[:1], 2)
    done = connector.detach(settings, ids[:1])
    assert "6 predictions removed" in done
    assert connector.detach(settings, ids[:1])[0] == "0 ML backends and 0 webhooks removed", "it may be repeated"
    after = project(label_studio, connector)
    assert [after[name] for name in SETTINGS] == [before[name] for name in SETTINGS]
    assert listed(label_studio, connector, "ml") == []
    assert [one["url"] for one in listed(label_studio, connector, "webhooks")] == [hook["url"]]
    assert [one["model_version"] for one in listed(label_studio, connector, "predictions")] == ["gpt-4o"]
    task = api(label_studio, "GET", f"/api/tasks/{ids[0]}/").json()
    assert (task["overlap"], task["is_labeled"]) == (1, True)
    assert [one["id"] for one in task["annotations"]] == [answer.id]


def test_another_recipe_is_told_that_the_project_is_taken(
    label_studio: LabelStudioServer, label_studio_project: Make, service: Service
) -> None:
    connector = label_studio_project()
    first = replace(service.address(), owner="topics")
    connector.connect(first)
    before = hooked(label_studio, connector)
    with pytest.raises(ProjectTaken, match="nextlabel detach topics"):
        connector.connect(replace(first, url=service.url + "/other", owner="moods"))
    assert hooked(label_studio, connector) == before
    connector.connect(replace(first, url=service.url + "/moved"))
    assert [one["url"] for one in listed(label_studio, connector, "ml")] == [service.url + "/moved"]
