"""Whatever is sent, the answer is below 500: a thousand malformed payloads of each platform, and worse."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Hint
from tests.size import count

JSON = {"Content-Type": "application/json"}
ANNOTATION = {
    "id": 44,
    "result": [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["sport"]}}],
    "was_cancelled": False,
    "ground_truth": False,
    "created_at": "2026-11-22T04:00:00.000000Z",
    "updated_at": "2026-11-22T04:00:01.000000Z",
    "completed_by": 2,
    "prediction": {"model_version": "nl-1", "score": 0.5},
    "task": 7,
    "project": 9,
}
TASK = {
    "id": 7,
    "data": {"text": "The striker scored twice."},
    "meta": {},
    "project": 9,
    "is_labeled": True,
    "predictions": [],
}
PROJECT = {"id": 9, "title": "demo", "label_config": "<View/>", "model_version": "nl-1-7", "token": "secret"}
SOUND: list[tuple[str, Any]] = [
    ("/webhook", {"action": "ANNOTATION_CREATED", "annotation": ANNOTATION, "task": TASK, "project": PROJECT}),
    ("/webhook", {"action": "ANNOTATION_UPDATED", "annotation": ANNOTATION, "task": TASK, "project": PROJECT}),
    ("/webhook", {"action": "ANNOTATIONS_CREATED", "annotation": [ANNOTATION], "task": [TASK], "project": PROJECT}),
    ("/webhook", {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 44}], "project": PROJECT}),
    ("/webhook", {"action": "TASKS_CREATED", "tasks": [TASK], "project": PROJECT}),
    ("/webhook", {"action": "TASKS_DELETED", "tasks": [{"id": 7}], "project": PROJECT}),
    ("/webhook", {"action": "PROJECT_UPDATED", "project": PROJECT}),
    ("/webhook", {"action": "START_TRAINING", "project": PROJECT}),
    ("/setup", {"project": "9.1795320086", "schema": "<View><Text name='text' value='$text'/></View>"}),
    ("/predict", {"tasks": [TASK, TASK], "project": "9.1795320086", "params": {"context": None}}),
    ("/api/predict", {"texts": ["a", "b"]}),
]

DATASET = {"id": "5c8f4b9e-8d52-4d11-9f35-0a2b6d2f7c11", "name": "demo", "status": "ready", "distribution": {}}
RESPONSE = {
    "id": "b4f7c2de-2c5f-4f6c-8a8e-0d4d5b7d1d10",
    "values": {"label": {"value": "sport"}},
    "status": "submitted",
    "record": {"id": "0d6d6c2e-54b3-4a8c-9c7e-16cf4d7c0a01", "metadata": {"queue_9a2f6a0e": 7}, "dataset": DATASET},
    "user": {"id": "9a2f6a0e-3b1d-4f0a-8c77-5f1b3f0e2c22", "username": "ann", "role": "annotator"},
    "inserted_at": "2026-11-22T04:00:00.000000",
    "updated_at": "2026-11-22T04:00:01.000000",
}
SOUND_ARGILLA: list[tuple[str, Any]] = [
    ("/webhook/argilla", {"type": kind, "version": 1, "timestamp": "2026-11-22T04:00:01.100000Z", "data": data})
    for kind, data in (
        ("response.created", RESPONSE),
        ("response.updated", {**RESPONSE, "status": "discarded", "values": None}),
        ("response.deleted", RESPONSE),
        ("record.updated", RESPONSE["record"]),
        ("ping", {"agent": "argilla-server", "version": "2.8.0"}),
    )
]

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63) - 1, 0, -1]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(st.characters(codec=None), max_size=30),  # lone surrogates included
    st.sampled_from(["", " ", "\x00", "9.", ".9", "2026-13-45", "9999-99-99T99:99:99Z", "-1", "1e999", "\ud800", "<"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.sampled_from([[], {}, [[]], [{}], [None], {"id": None}, {"id": {}}, {"choices": "sport"}, {"choices": [1]}]),
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside ``value``."""
    yield here
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from places(child, (*here, key))


@st.composite
def spoiled(draw: st.DrawFn, payloads: list[tuple[str, Any]]) -> tuple[str, Any]:
    """A payload that the platform might send, with one to three places changed, dropped or wrapped."""
    path, sound = draw(st.sampled_from(payloads))
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(places(value))))
        if not place:
            continue
        parent = value
        for key in place[:-1]:
            parent = parent[key]
        how = draw(st.sampled_from(["replace", "replace", "drop", "wrap"]))
        if how == "replace":
            parent[place[-1]] = copy.deepcopy(draw(junk))
        elif how == "wrap":
            parent[place[-1]] = [parent[place[-1]]]
        else:
            del parent[place[-1]]
    return path, value


@pytest.fixture
def service(service: Any, tmp_path: Path) -> Iterator[Any]:
    """The service with a real store: what the parser lets through can be looked up."""
    with Store.open(tmp_path / "store.sqlite") as store:
        notify = service.notify

        def look_up(hint: Hint) -> bool:
            notify(hint)
            assert store.visible(hint.annotations) == {}
            assert store.get_remote(sorted(hint.records)) == {}
            assert all(0 < int(number) < 2**63 for number in hint.records)
            assert all(store.generation_of(version) is None for version in hint.seen_versions.values())
            return True

        service.notify = look_up
        yield service


def send(client: TestClient, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code < 500, f"{path} {body[:500]!r} -> {answer.status_code} {answer.text}"
    if answer.status_code >= 400:
        assert answer.json()["detail"]


def many(examples: int) -> settings:
    """So many of them, the same each time."""
    here = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=count(examples, fast=examples // 10), derandomize=True, suppress_health_check=here)


@many(1000)
@given(case=spoiled(SOUND))
def test_malformed_payloads_of_label_studio(client: TestClient, case: tuple[str, Any]) -> None:
    path, value = case
    send(client, path, json.dumps(value).encode())


@pytest.fixture
def argilla(stranger: TestClient, service: Any) -> TestClient:
    """A dataset of Argilla is served; what is sent is signed."""
    service.move_to_argilla()
    stranger.headers["webhook-signature"] = service.signed
    return stranger


@many(1000)
@given(case=spoiled(SOUND_ARGILLA))
def test_malformed_payloads_of_argilla(argilla: TestClient, case: tuple[str, Any]) -> None:
    path, value = case
    send(argilla, path, json.dumps(value).encode())


@many(100)
@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"null")
@example(body=b"[" * 100_000)
@example(body=b'{"type": "response.created", "data": {"id": ' + b"9" * 5000 + b"}}")
@example(body=b'{"type": NaN, "data": {"record": {"dataset": {"id": Infinity}}}}')
def test_signed_bytes_that_are_no_event(argilla: TestClient, body: bytes) -> None:
    send(argilla, "/webhook/argilla", body)


@many(200)
@given(path=st.sampled_from(["/webhook", "/setup", "/predict", "/api/predict"]), body=st.binary(max_size=200))
@example(path="/webhook", body=b"")
@example(path="/webhook", body=b"\xff\xfe")
@example(path="/webhook", body=b"\xef\xbb\xbf{}")
@example(path="/webhook", body=b"null")
@example(path="/webhook", body=b'{"action": NaN, "project": {"id": Infinity}}')
@example(path="/webhook", body=b'{"action": "START_TRAINING", "project": ' + b"9" * 5000 + b"}")
@example(path="/webhook", body=b"[" * 100_000)
@example(path="/webhook", body=b'{"action":' * 20_000 + b"1" + b"}" * 20_000)
@example(path="/predict", body=b'{"tasks": [{"data": {"text": ' + b"[" * 500 + b"]" * 500 + b"}}]}")
@example(path="/predict", body=b'{"tasks": [{"data": {"text": "' + b"\\ud83d" * 5 + b'"}}]}')
@example(path="/predict", body=b'{"tasks": [{"id": 1e999, "data": {"text": 1e999}}]}')
@example(path="/setup", body=b'{"schema": "<!DOCTYPE a [<!ENTITY b \\"' + b"x" * 1000 + b'\\">]><View>&b;</View>"}')
@example(path="/api/predict", body=b'{"text": "\\u0000"}')
def test_bytes_that_are_not_json_at_all(client: TestClient, path: str, body: bytes) -> None:
    send(client, path, body)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "\xff"])
@pytest.mark.parametrize("path", ["/webhook", "/setup", "/predict", "/api/predict"])
def test_bodies_not_declared_as_json(client: TestClient, path: str, kind: str) -> None:
    answer = client.post(path, content=b"{}", headers={b"Content-Type": kind.encode("latin-1")})
    assert answer.status_code == 415


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json"])
def test_json_by_other_names(client: TestClient, kind: str) -> None:
    assert client.post("/setup", content=b"{}", headers={"Content-Type": kind}).is_success


def test_nothing_malformed_reaches_the_log(client: TestClient, service: Any) -> None:
    for body in (b"[]", b"{", b'{"action": "ANNOTATION_CREATED"}'):
        client.post("/webhook", content=body, headers=JSON)
    assert service.heard == []


@pytest.mark.parametrize(
    "moment",
    ["2026-11-22T04:00:00", "2026-11-22", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "20261122T040000Z"],
)
def test_moments_at_the_edge_of_time(client: TestClient, moment: str) -> None:
    event = {"action": "ANNOTATION_CREATED", "annotation": {**ANNOTATION, "updated_at": moment}, "project": PROJECT}
    send(client, "/webhook", json.dumps(event).encode())


def test_ids_beyond_64_bits(client: TestClient) -> None:
    event = {"action": "ANNOTATION_CREATED", "annotation": {**ANNOTATION, "id": 10**400, "task": -(2**70)}}
    send(client, "/webhook", json.dumps(event).encode())
