"""The contract of every connector, on a real server of its platform. A new platform joins by one entry in PLATFORMS."""

from __future__ import annotations

import pytest

from nextlabel.connectors.base import Connector
from tests.contract.connector_contract import *  # noqa: F403 - the tests
from tests.contract.connector_contract import Platform
from tests.live.argilla_calls import api as argilla_api
from tests.live.label_studio_calls import api


def label_studio_platform(request: pytest.FixtureRequest) -> Platform:
    from nextlabel.backend.stack import Annotator

    server = request.getfixturevalue("label_studio")
    tokens = request.getfixturevalue("annotators")

    def annotator(connector: Connector, user: int) -> Annotator:
        return Annotator(server.url, tokens[user], connector.project.id)

    def answer(connector: Connector, remote_id: str, label: str | None, user: int) -> str:
        with annotator(connector, user) as ann:
            given = ann.skip(int(remote_id)) if label is None else ann.submit(int(remote_id), label)
            return str(given.id)

    def take_back(connector: Connector, given: str, user: int) -> None:
        with annotator(connector, user) as ann:
            ann.delete(int(given))

    def delete(connector: Connector, remote_id: str) -> None:
        api(server, "DELETE", f"/api/tasks/{remote_id}/")

    def correct(connector: Connector, remote_id: str, text: str) -> None:
        data = api(server, "GET", f"/api/tasks/{remote_id}/").json()["data"]
        api(server, "PATCH", f"/api/tasks/{remote_id}/", json={"data": {**data, "text": text}})

    def next_record(connector: Connector, user: int) -> str | None:
        with annotator(connector, user) as ann:
            task = ann.next_task()
            return None if task is None else str(task["id"])

    make = request.getfixturevalue("label_studio_project")
    unknown = {"action": "nobody knows this"}
    return Platform("label-studio", make, answer, take_back, delete, correct, next_record, unknown, keeps_rows=True)


def argilla_platform(request: pytest.FixtureRequest) -> Platform:
    from nextlabel.backend.stack.annotators import ArgillaAnnotator

    server = request.getfixturevalue("argilla")
    keys = request.getfixturevalue("argilla_users")

    def annotator(connector: Connector, user: int) -> ArgillaAnnotator:
        return ArgillaAnnotator(server.url, keys[user], connector.project.id)

    def answer(connector: Connector, remote_id: str, label: str | None, user: int) -> str:
        with annotator(connector, user) as ann:
            given = ann.discard(remote_id) if label is None else ann.submit(remote_id, label)
            return given.id

    def take_back(connector: Connector, given: str, user: int) -> None:
        with annotator(connector, user) as ann:
            ann.delete(given)

    def delete(connector: Connector, remote_id: str) -> None:
        argilla_api(server, "DELETE", f"/datasets/{connector.project.id}/records?ids={remote_id}")

    def correct(connector: Connector, remote_id: str, text: str) -> None:
        argilla_api(server, "PATCH", f"/records/{remote_id}", json={"fields": {"text": text}})

    def next_record(connector: Connector, user: int) -> str | None:
        with annotator(connector, user) as ann:
            record = ann.next(connector.links()[f"annotator{user}"])
            return None if record is None else str(record["id"])

    make = request.getfixturevalue("argilla_dataset")
    unknown = {"type": "nobody.knows.this", "data": {}}
    return Platform(
        "argilla",
        make,
        answer,
        take_back,
        delete,
        correct,
        next_record,
        unknown,
        keeps_rows=False,
    )


PLATFORMS = {"label-studio": label_studio_platform, "argilla": argilla_platform}


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> Platform:
    return PLATFORMS[request.param](request)
