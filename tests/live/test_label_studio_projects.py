"""Projects made, read back and refused, and who may: on a real Label Studio."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.connectors.errors import (
    ConfigError,
    LabelingMismatch,
    NotThePlatform,
    ProjectNotFound,
    Unauthorized,
)
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, QueueEntry, Record, Suggestion
from tests.live.label_studio_calls import access_token, api, numbered

Make = Callable[..., LabelStudioConnector]


LABELINGS = [
    Labeling(LabelKind.SINGLE, ("sport", "politics"), instruction='Which "section" <is> it?'),
    Labeling(
        LabelKind.MULTI, ("sport", "a & b", "<c>", '"d"', "ثقافة", "🎬"), descriptions={"sport": "games & 'play'"}
    ),
    Labeling(LabelKind.SPAN, ("PER", "LOC"), (Field("body"), Field("title")), name="who"),
    Labeling(LabelKind.SINGLE, ("yes", "no"), (Field("image", FieldKind.IMAGE), Field("caption")), name="hateful"),
]


@pytest.mark.parametrize("labeling", LABELINGS, ids=lambda labeling: labeling.kind)
def test_a_project_is_made_and_read_back(
    labeling: Labeling, label_studio: LabelStudioServer, label_studio_project: Make
):
    made = label_studio_project(labeling)
    again = LabelStudioConnector.attach(label_studio.url, label_studio.token, made.project.id)
    assert again.labeling == made.labeling == labeling
    assert again.project == made.project
    again.expect(labeling)
    with pytest.raises(LabelingMismatch, match="lacks the labels other"):
        again.expect(Labeling(labeling.kind, ("other",), labeling.fields, labeling.name))
    value = (labeling.labels[-1],) if labeling.kind is not LabelKind.SPAN else ()
    [task] = again.push([Record("u", {field.name: "http://127.0.0.1:9/a.png" for field in labeling.fields})]).values()
    again.publish("nl-made-1", [QueueEntry(task, 0, Suggestion(value, 0.5, "m"))])
    annotator = Annotator(label_studio.url, label_studio.token, again.project.id)
    shown = annotator.next_task()
    assert shown is not None
    annotator.submit(shown, shown["predictions"][0]["result"])
    [answer] = again.changes(None).annotations
    assert answer.value == value
    again.close()


def test_a_project_of_another_kind_is_refused_with_what_it_asks(label_studio: LabelStudioServer):
    config = '<View><Text name="t" value="$t"/><Rating name="stars" toName="t"/></View>'
    made = api(label_studio, "POST", "/api/projects/", json={"title": "stars", "label_config": config}).json()
    with pytest.raises(LabelingMismatch, match="Rating 'stars' asks for a number of stars"):
        LabelStudioConnector.attach(label_studio.url, label_studio.token, made["id"])


@pytest.mark.parametrize("token", ["0" * 40, "not even a token", "a.b.c"])
def test_a_wrong_token_is_unauthorized(token: str, label_studio: LabelStudioServer):
    with pytest.raises(Unauthorized, match="refused the token") as caught:
        LabelStudioConnector.attach(label_studio.url, token, 1)
    assert token not in str(caught.value)


def test_an_expired_personal_token_is_unauthorized(label_studio: LabelStudioServer):
    import jwt

    token = jwt.encode({"exp": 1, "token_type": "refresh"}, "x" * 32)
    with pytest.raises(Unauthorized, match="expired"):
        LabelStudioConnector.attach(label_studio.url, token, 1)


@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")  # in the SDK, where it renews tokens
def test_a_personal_access_token_works(label_studio: LabelStudioServer, label_studio_project: Make):
    made = label_studio_project()
    token = access_token(label_studio)
    connector = LabelStudioConnector.attach(label_studio.url, token, made.project.id)
    assert len(connector.push(numbered(3))) == 3
    assert len(list(connector.records())) == 3
    assert any(finding.code == "token" and "personal" in finding.message for finding in connector.diagnose())
    connector.close()


@pytest.mark.parametrize("project", [987654, "987654", "my project", "", "-1"])
def test_no_such_project(project: int | str, label_studio: LabelStudioServer):
    with pytest.raises(ProjectNotFound):
        LabelStudioConnector.attach(label_studio.url, label_studio.token, project)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://example.com", "http://"])
def test_what_is_no_address_is_named(url: str):
    with pytest.raises(ConfigError, match="address"):
        LabelStudioConnector.attach(url, "a-token", 1)


def test_something_else_at_the_address_is_noticed(label_studio: LabelStudioServer):
    with pytest.raises(NotThePlatform, match="Is that its address"):
        LabelStudioConnector.attach(f"{label_studio.url}/user/login", label_studio.token, 1)


def test_no_secret_in_representations(label_studio: LabelStudioServer, label_studio_project: Make):
    connector = label_studio_project()
    assert label_studio.token not in repr(connector) + repr(connector._client)
