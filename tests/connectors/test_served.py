"""Addresses of what a platform serves itself."""

from __future__ import annotations

import base64

import pytest

from nextlabel.connectors.served import NOTHING_SERVED, Served

SERVED = Served("http://ls.example:8080/sub", "http://ls.example:8080/sub/projects/3/resolve/?fileuri=")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("/data/upload/3/a b.png", "http://ls.example:8080/sub/data/upload/3/a b.png"),
        ("/data/local-files/?d=x/y.png", "http://ls.example:8080/sub/data/local-files/?d=x/y.png"),
        ("http://localhost:8080/data/local-files/?d=y.png", "http://ls.example:8080/sub/data/local-files/?d=y.png"),
        ("https://ls.example/data/upload/3/a.png", "http://ls.example:8080/sub/data/upload/3/a.png"),
    ],
)
def test_files_of_the_platform_are_asked_for_there(written: str, asked: str) -> None:
    assert SERVED.find(written) == asked
    assert SERVED.holds(asked)


def test_a_bucket_is_resolved_by_the_platform() -> None:
    found = SERVED.find("s3://bucket/ü.png")
    assert SERVED.holds(found)
    assert (
        base64.urlsafe_b64decode(found.rpartition("=fileuri")[2].partition("fileuri=")[2]).decode()
        == "s3://bucket/ü.png"
    )


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/data/upload/3/a.png",
        "http://ls.example:8080/sub/api/projects/3",
        "/api/current-user/token",
        "data:image/png;base64,AAAA",
        "http://[bad",
        "photos/a.png",
    ],
)
def test_what_is_not_the_platforms_stays_and_gets_no_key(address: str) -> None:
    assert SERVED.find(address) == address
    assert not SERVED.holds(address)


def test_nothing_is_served_without_a_platform() -> None:
    assert NOTHING_SERVED.find("/data/upload/1/a.png") == "/data/upload/1/a.png"
    assert not NOTHING_SERVED.holds("/data/upload/1/a.png")
