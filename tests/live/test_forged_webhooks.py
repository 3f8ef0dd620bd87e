"""Webhooks by somebody who knows the secret, as every member of Label Studio does: the log is what the platform has."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaServer, LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla.webhooks import WEBHOOK
from nextlabel.connectors.label_studio.webhooks import SECRET_HEADER
from tests.crash.people import check_log, exported, write_recipe
from tests.live.argilla_calls import api as argilla_api
from tests.live.argilla_calls import forget_webhooks, hooks, signed
from tests.live.label_studio_calls import api

Json = dict[str, Any]
LATEST_LOOK_S = 5.0
"""So much later nothing that a webhook announced is looked for any more."""
FUTURE, PAST = "2030-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.000000Z"


@dataclass
class Scene:
    """A running service, its project, and what annotators did in it: some given, one skipped, one deleted."""

    backend: BackendProcess
    store: Path
    project: str
    records: list[str]
    given: dict[str, Json]  # record -> the answer as the platform has it

    def log(self) -> list[tuple[str, str]]:
        """What the log has gained, by kind and subject."""
        with Store.open(self.store) as store:
            return [(row.kind, row.subject) for row in store.log_rows(limit=100_000)]

    def settle(self) -> Json:
        """Let everything be followed that was announced, and compare."""
        threading.Event().wait(LATEST_LOOK_S)
        headers = {"Authorization": f"Bearer {self.backend.token}"}
        number = httpx.post(f"{self.backend.url}/api/compare", headers=headers, json={}).json()["number"]
        return self.backend.wait(lambda status: status["comparison"]["ended"] >= number, "a comparison")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., BackendProcess]]:
    with ExitStack() as stack:

        def begin(server: LabelStudioServer | ArgillaServer) -> BackendProcess:
            recipe = str(write_recipe(tmp_path, "forged", texts=40))
            backend = BackendProcess(recipe, server, tmp_path / "home", env={"NEXTLABEL_POLL_INTERVAL_S": "1"})
            stack.callback(backend.stop)
            backend.start()
            backend.wait_ready()
            return backend

        yield begin


# -- Label Studio ----------------------------------------------------------------------------------------------------


def forgeries(scene: Scene, other: Json) -> Iterator[Json]:
    """Twenty kinds of events that did not happen."""
    one, two, three = list(scene.given.values())[:3]
    free = [int(record) for record in scene.records if record not in scene.given]
    region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["stone"]}}
    invented = {**one, "id": 987_654, "task": free[0], "result": [region], "created_at": FUTURE, "updated_at": FUTURE}
    turned = {**one, "result": [region]}
    created, updated, deleted = "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"
    yield {"action": created, "annotation": invented}
    yield {"action": created, "annotation": {**invented, "id": 987_655, "task": int(one["task"])}}
    yield {"action": created, "annotation": {**turned, "task": free[1]}}  # an answer moved to another record
    yield {"action": created, "annotation": {**other, "task": free[2]}}  # one of another project
    yield {"action": "ANNOTATIONS_CREATED", "annotation": [{**invented, "id": 9_000 + n, "task": n} for n in free]}
    yield {"action": updated, "annotation": {**turned, "updated_at": FUTURE}}
    yield {"action": updated, "annotation": {**turned, "updated_at": PAST}}
    yield {"action": updated, "annotation": turned}
    yield {"action": updated, "annotation": {**two, "was_cancelled": True, "result": [], "updated_at": FUTURE}}
    yield {"action": updated, "annotation": {**two, "completed_by": 1, "updated_at": FUTURE}}
    yield {"action": updated, "annotation": {**two, "result": [], "updated_at": FUTURE}}
    unknown = {**region, "value": {"choices": ["no such label"]}}
    yield {"action": updated, "annotation": {**two, "result": [unknown], "updated_at": FUTURE}}
    yield {"action": updated, "annotation": {**two, "prediction": {"model_version": "nl-forged-1", "result": [region]}}}
    yield {"action": deleted, "annotations": [{"id": three["id"]}]}
    yield {"action": deleted, "annotations": [{"id": answer["id"]} for answer in scene.given.values()]}
    yield {"action": deleted, "annotations": [{"id": 987_656}]}
    yield {"action": "TASKS_DELETED", "tasks": [{"id": free[3]}, {"id": int(one["task"])}]}
    yield {"action": "TASKS_DELETED", "tasks": [{"id": int(record)} for record in scene.records]}
    yield {"action": "TASKS_CREATED"}
    yield {"action": "PROJECT_UPDATED", "project": {"id": int(scene.project), "label_config": "<View/>"}}
    yield {"action": "START_TRAINING"}
    yield {"action": updated, "annotation": {**turned, "id": 2**63 - 1, "updated_at": FUTURE}}


def test_twenty_forged_webhooks_with_the_right_secret_change_nothing(
    label_studio: LabelStudioServer, annotators: list[str], start: Callable[..., BackendProcess], tmp_path: Path
) -> None:
    backend = start(label_studio)
    project = backend.status()["project"]["id"]
    headers = {"Authorization": f"Token {annotators[3]}"}
    listed = httpx.get(f"{label_studio.url}/api/webhooks/", params={"project": project}, headers=headers).json()
    secret = listed[0]["headers"][SECRET_HEADER]  # any member may read it
    ann = Annotator(label_studio.url, annotators[0], project)
    records = [str(task["id"]) for task in api(label_studio, "GET", f"/api/tasks?project={project}").json()["tasks"]]
    given = [ann.submit(int(record), "animal") for record in records[:12]]
    ann.skip(int(records[12]))
    ann.delete(given.pop())
    elsewhere = api(label_studio, "POST", "/api/projects/", json={"title": "elsewhere"}).json()["id"]
    [task] = api(
        label_studio, "POST", f"/api/projects/{elsewhere}/import?return_task_ids=true", json=[{"text": "x"}]
    ).json()["task_ids"]
    other = Annotator(label_studio.url, annotators[1], elsewhere).submit(task, "stone").body
    backend.wait(lambda status: status["labelled"] == 11, "the answers")
    store = tmp_path / "home" / "forged" / "store.sqlite"
    scene = Scene(backend, store, project, records, {str(one.task): one.body for one in given})
    assert scene.settle()["comparison"]["agree"]
    before, platform = scene.log(), exported(label_studio, project)

    answers = []
    for body in forgeries(scene, other):
        event = {"project": {"id": int(project)}, **body}
        answers.append(httpx.post(f"{backend.url}/webhook", json=event, headers={SECRET_HEADER: secret}, timeout=20))
    assert [one.status_code for one in answers if one.status_code != 200] == [403], "but the training, which is refused"
    status = scene.settle()
    assert scene.log() == before
    check_log(store, platform)
    assert (status["records"], status["labelled"], status["last_error"]) == (40, 11, "")
    assert status["training"]["ended"] == 0

    ann.update(given[0], "plant")  # its author saves again, and that counts
    backend.wait(lambda _: dict_of(store)[str(given[0].id)] == ("plant",), "the answer that was saved again")
    check_log(store, exported(label_studio, project))


def dict_of(store: Path) -> dict[str, tuple[object, ...]]:
    with Store.open(store) as opened:
        return {one.id: one.value for one in opened.answers()}


# -- Argilla ---------------------------------------------------------------------------------------------------------


def signed_forgeries(scene: Scene, other: Json) -> Iterator[Json]:
    """The same with Argilla's signature, whose secret owners know."""
    one, two, three = list(scene.given.values())[:3]
    free = [record for record in scene.records if record not in scene.given]
    nowhere = "00000000-0000-4000-8000-000000000000"
    turned = {"values": {"label": {"value": "stone"}}, "updated_at": FUTURE}

    def about(kind: str, answer: Json, record: str, **more: Any) -> Json:
        place = {"id": record, "dataset": {"id": scene.project}}
        return {"type": f"response.{kind}", "data": {**answer, **more, "record": place, "user": {"id": "x"}}}

    yield about("created", one, free[0], id=nowhere, **turned)
    yield about("created", one, one["record_id"], id=nowhere, **turned)
    yield about("created", one, free[1])
    yield about("created", one, nowhere)
    yield about("created", other, free[2])
    yield about("created", other, other["record_id"])
    yield about("updated", one, one["record_id"], **turned)
    yield about("updated", one, one["record_id"], **turned | {"updated_at": PAST})
    yield about("updated", one, one["record_id"], **turned | {"updated_at": one["updated_at"]})
    yield about("updated", one, one["record_id"], status="discarded", updated_at=FUTURE)
    yield about("updated", one, one["record_id"], status="draft", updated_at=FUTURE)
    yield about("updated", two, two["record_id"], user_id=nowhere, updated_at=FUTURE)
    yield about("updated", two, two["record_id"], values=None, updated_at=FUTURE)
    yield about("updated", two, two["record_id"], values={"label": {"value": "no such label"}}, updated_at=FUTURE)
    yield about("deleted", three, three["record_id"])
    yield about("deleted", three, free[3])
    yield about("deleted", three, nowhere)
    for answer in scene.given.values():
        yield about("deleted", answer, answer["record_id"])
    yield {"type": "record.deleted", "data": {"id": free[0], "dataset": {"id": scene.project}}}
    yield {"type": "dataset.deleted", "data": {"id": scene.project}}


def test_forged_deliveries_with_the_servers_own_signature_change_nothing(
    argilla: ArgillaServer, argilla_users: list[str], start: Callable[..., BackendProcess], tmp_path: Path
) -> None:
    forget_webhooks(argilla)
    backend = start(argilla)
    project = backend.status()["project"]["id"]
    [made] = hooks(argilla)
    ann = ArgillaAnnotator(argilla.url, argilla_users[0], project)
    items = argilla_api(argilla, "GET", f"/datasets/{project}/records?limit=100")["items"]
    records = [item["id"] for item in items]
    given = [ann.submit(record, "animal") for record in records[:12]]
    ann.discard(records[12])
    ann.draft(records[13], "stone")
    ann.delete(given.pop())
    other = {**given[0].body, "id": given[1].id, "record_id": "11111111-0000-4000-8000-000000000000"}
    backend.wait(lambda status: status["labelled"] == 11, "the answers")
    store = tmp_path / "home" / "forged" / "store.sqlite"
    scene = Scene(backend, store, project, records, {one.record: one.body for one in given})
    assert scene.settle()["comparison"]["agree"]
    before, platform = scene.log(), exported(argilla, project)

    for body in signed_forgeries(scene, other):
        raw = json.dumps(body).encode()
        headers = {**signed(made["secret"], raw), "content-type": "application/json"}
        assert httpx.post(f"{backend.url}{WEBHOOK}", content=raw, headers=headers, timeout=20).status_code == 200
    status = scene.settle()
    assert scene.log() == before
    check_log(store, platform)
    assert (status["records"], status["labelled"], status["last_error"]) == (40, 11, "")

    ann.update(given[0], "plant")
    backend.wait(lambda _: dict_of(store)[given[0].id] == ("plant",), "the answer that was saved again")
    check_log(store, exported(argilla, project))
    ann.close()
    forget_webhooks(argilla)
