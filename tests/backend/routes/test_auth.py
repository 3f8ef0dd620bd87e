"""Who may call what."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_app
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.routes.middleware import SECRET_HEADER
from nextlabel.backend.settings import Settings

GUARDED = [
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("GET", "/versions"),
    ("POST", "/api/predict"),
    ("GET", "/api/status"),
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/static-offline-docs/swagger-ui.css"),
    ("GET", "/no-such-page"),
    ("GET", "/health/"),
    ("GET", "//health"),
    ("POST", "/webhook"),
]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_health_is_open(stranger: TestClient) -> None:
    assert stranger.get("/health").json()["status"] == "UP"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_everything_else_is_closed(stranger: TestClient, method: str, path: str) -> None:
    answer = stranger.request(method, path, follow_redirects=False)
    assert answer.status_code == 401
    assert answer.headers.get_list("WWW-Authenticate") == ['Basic realm="nextlabel"', "Bearer"]


@pytest.mark.parametrize("path", ["/versions", "/api/status", "/metrics", "/docs", "/openapi.json"])
def test_basic_auth_and_bearer_open_it(stranger: TestClient, secrets: Credentials, path: str) -> None:
    assert stranger.get(path, headers=basic(secrets.user, secrets.password)).status_code == 200
    assert stranger.get(path, headers={"Authorization": f"Bearer {secrets.api_token}"}).status_code == 200
    assert stranger.get(path, headers={"Authorization": f"bearer  {secrets.api_token} "}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"ls").decode(),
        "Basic " + base64.b64encode(b"ls:pass").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer webhook-secret",
        "Token bearer-token",
        "bearer-token",
        "Bearer \xff\xfe",
    ],
)
def test_wrong_credentials_do_not(stranger: TestClient, header: str) -> None:
    assert stranger.get("/versions", headers={b"Authorization": header.encode("latin-1")}).status_code == 401


def test_the_secret_opens_the_webhook_only(stranger: TestClient, secrets: Credentials) -> None:
    headers = {SECRET_HEADER: secrets.webhook_secret}
    assert stranger.post("/webhook", json={"action": "PROJECT_UPDATED"}, headers=headers).status_code == 200
    assert stranger.post("/setup", json={}, headers=headers).status_code == 401
    assert stranger.get("/api/status", headers=headers).status_code == 401
    assert stranger.post("/webhook", json={}, headers={SECRET_HEADER: "webhook-secre"}).status_code == 401
    assert stranger.post("/webhook", json={}, headers={SECRET_HEADER: ""}).status_code == 401


def test_training_starts_with_basic_auth_and_no_secret(stranger: TestClient, secrets: Credentials) -> None:
    answer = stranger.post("/webhook", json={"action": "START_TRAINING"}, headers=basic(secrets.user, secrets.password))
    assert answer.status_code == 200


def test_an_empty_secret_opens_nothing(app: object, stranger: TestClient) -> None:
    from nextlabel.backend.routes.middleware import RequireCredentials

    guard = RequireCredentials(app, Credentials("ls", "p", "", ""))  # type: ignore[arg-type]
    with TestClient(guard) as client:
        assert client.get("/versions", headers={"Authorization": "Bearer "}).status_code == 401
        assert client.post("/webhook", headers={SECRET_HEADER: ""}).status_code == 401


def test_credentials_do_not_show_in_a_repr(secrets: Credentials) -> None:
    assert secrets.user in repr(secrets)
    for secret in (secrets.password, secrets.api_token, secrets.webhook_secret):
        assert secret not in repr(secrets)


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://testserver:8000"},
    {"Origin": "http://[broken"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
]
OURS: list[dict[str, str]] = [
    {},
    {"Origin": "http://testserver"},
    {"Origin": "HTTPS://TestServer", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "https://label.example"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.fixture
def proxied(app: FastAPI, service: Any, tmp_path: Path, secrets: Credentials) -> Iterator[TestClient]:
    """A client of a service that the world knows as label.example."""
    settings = Settings(home=tmp_path, public_url="https://label.example")
    with TestClient(create_app(service, settings, secrets=secrets)) as client:
        client.auth = (secrets.user.encode(), secrets.password.encode())
        yield client


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/train"), ("DELETE", "/api/train"), ("POST", "/webhook")])
def test_a_foreign_page_changes_nothing(
    proxied: TestClient, service: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    before = dict(service.training)
    assert proxied.request(method, path, headers=headers).status_code == 403
    assert service.training == before
    assert proxied.get("/api/status", headers=headers).status_code == 200  # it can't read the answer


@pytest.mark.parametrize("headers", OURS)
def test_our_own_pages_and_programs_do(proxied: TestClient, headers: dict[str, str]) -> None:
    assert proxied.post("/api/train", headers=headers).status_code == 200
