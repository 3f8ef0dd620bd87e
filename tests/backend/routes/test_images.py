"""Images by signed address: for browsers without a token, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nextlabel.backend.app import create_app
from nextlabel.backend.data.image_files import data_url
from nextlabel.backend.service.front import Front
from nextlabel.backend.service.image_copies import ImageCopies, ImageCopy
from nextlabel.backend.settings import Settings

from .conftest import SECRETS, MemoryService

NAME = f"{'a' * 32}-{'b' * 32}.jpg"


@pytest.fixture(autouse=True)
def shown(service: MemoryService) -> None:
    service.images[NAME] = ImageCopy(b"\xff\xd8 a picture", "image/jpeg", NAME)


def test_an_annotators_browser_is_shown_it_without_a_token(stranger: TestClient) -> None:
    answer = stranger.get(f"/images/{NAME}")
    assert answer.status_code == 200
    assert answer.content == b"\xff\xd8 a picture"
    headers = answer.headers
    assert headers["content-type"] == "image/jpeg"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, max-age=31536000, immutable"
    assert headers["access-control-allow-origin"] == "*", "the page may draw it, or fetch it"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "x-frame-options" not in headers
    assert "set-cookie" not in headers
    again = stranger.get(f"/images/{NAME}", headers={"If-None-Match": headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = stranger.head(f"/images/{NAME}")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "12")


@pytest.mark.parametrize("name", ["x", f"{'a' * 32}-{'c' * 32}.jpg", "..", "%2e%2e", "a\\b", "a%00b", "a" * 5000])
def test_any_other_name_is_not_there(stranger: TestClient, name: str) -> None:
    answer = stranger.get(f"/images/{name}", follow_redirects=False)
    assert answer.status_code in (404, 401)
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", f"/images/{NAME}"), ("DELETE", f"/images/{NAME}"), ("GET", "/images"), ("GET", f"/images/x/{NAME}")],
)
def test_nothing_else_is_open(stranger: TestClient, method: str, path: str) -> None:
    assert stranger.request(method, path, follow_redirects=False).status_code == 401


@pytest.mark.parametrize("path", ["/images/../api/status", "/images/%2e%2e/api/status", "/images/..%2fapi%2fstatus"])
def test_no_way_leads_from_there_to_what_is_closed(stranger: TestClient, path: str) -> None:
    assert stranger.get(path, follow_redirects=False).status_code in (401, 404)


def test_images_are_shown_while_the_service_starts(tmp_path: Path) -> None:
    copies = ImageCopies(tmp_path / "images", "memes", lambda: "key", "http://here")
    name = copies.shown(data_url(b"a picture", "image/png")).rpartition("/")[2]
    front = Front(copies)
    app = create_app(front, Settings(home=tmp_path), secrets=SECRETS)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get(f"/images/{name}").content == b"a picture"
        assert client.get(f"/images/{NAME}").status_code == 404
        front.open(service := MemoryService())
        service.images[NAME] = ImageCopy(b"another", "image/jpeg", NAME)
        assert client.get(f"/images/{NAME}").content == b"another"
