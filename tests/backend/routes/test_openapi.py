"""The API keeps to its own description: schemathesis tries to break it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from nextlabel.backend.app import create_app
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.settings import Settings
from nextlabel.connectors.records import Field, FieldKind
from tests.size import count

OPERATIONS = [
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/"),
    ("post", "/setup"),
    ("post", "/predict"),
    ("post", "/webhook"),
    ("post", "/webhook/argilla"),
    ("get", "/versions"),
    ("post", "/api/predict"),
    ("post", "/api/relabel"),
    ("post", "/api/train"),
    ("delete", "/api/train"),
    ("post", "/api/compare"),
    ("get", "/api/status"),
    ("get", "/metrics"),
    ("get", "/images/{name}"),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_api_keeps_to_its_description(
    tmp_path: Path, service: Any, secrets: Credentials, method: str, path: str
) -> None:
    # With room for lists that are too long: 413 is no answer that the description can foresee.
    app = create_app(service, Settings(home=tmp_path, max_request_bytes=20_000_000), secrets=secrets)
    # Which fields a record may have depends on the project: its description can't say it all.
    excluded = [positive_data_acceptance] if path == "/api/predict" else []
    headers = {"Authorization": f"Bearer {secrets.api_token}"}
    if path == "/webhook/argilla":
        service.move_to_argilla()
        headers = {"webhook-signature": service.signed, **headers}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)

    # Bodies that fit the description, and bodies, headers and methods that do not.
    @given(case=st.one_of([schema[path][method].as_strategy(generation_mode=mode) for mode in GenerationMode]))
    @settings(max_examples=count(150, fast=20), derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    check()


def test_every_route_is_described_with_who_may_call_it(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {path for _, path in OPERATIONS}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            assert bool(operation["security"]) == (path not in ("/health", "/ready", "/images/{name}"))
            if "requestBody" in operation:
                assert operation["requestBody"]["content"]["application/json"]["examples"]


@pytest.mark.parametrize("platform", ["label-studio", "argilla"])
def test_the_examples_work(client: TestClient, service: Any, platform: str) -> None:
    if platform == "argilla":
        service.move_to_argilla()
        client.headers["webhook-signature"] = service.signed
    tagged = {"Label Studio": "label-studio", "Argilla": "argilla", "nextlabel": platform}
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        if not {tagged[tag] for one in operations.values() for tag in one["tags"]} & {platform}:
            continue
        body = operations.get("post", {}).get("requestBody", {"content": {"application/json": {"examples": {}}}})
        for example in body["content"]["application/json"]["examples"].values():
            if path == "/api/predict":  # some of its examples have a picture
                service.labeling = replace(service.labeling, fields=(Field("text"), Field("image", FieldKind.IMAGE)))
            assert client.post(path, json=example["value"]).is_success
