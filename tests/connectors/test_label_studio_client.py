"""Tokens that expire, on a machine whose clock is wrong."""

from __future__ import annotations

import time

import httpx
import jwt
import pytest

from nextlabel.connectors.errors import Unauthorized
from nextlabel.connectors.label_studio.client import Client, titled

KEY = "x" * 32
pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")  # in the SDK


def token(kind: str, expires: float, number: int = 0) -> str:
    return jwt.encode({"exp": expires, "token_type": kind, "jti": str(number)}, KEY, "HS256")


class Server:
    """Gives access tokens that work for five minutes of its own time, and refuses others."""

    def __init__(self) -> None:
        self.time = time.time() + 3600  # our clock is an hour behind
        self.given: list[str] = []
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/token/refresh/":
            self.given.append(token("access", self.time + 300, len(self.given)))
            return httpx.Response(200, json={"access": self.given[-1]})
        self.asked += 1
        shown = request.headers["Authorization"].removeprefix("Bearer ")
        good = shown in self.given and jwt.decode(shown, options={"verify_signature": False})["exp"] > self.time
        return httpx.Response(200 if good else 401, json={"detail": "expired"})


def test_an_access_token_that_is_refused_is_renewed_once() -> None:
    server = Server()
    client = Client("http://ls", token("refresh", time.time() + 9e5), transport=httpx.MockTransport(server))
    client.request("GET", "/api/x")
    client.request("GET", "/api/x")
    assert (len(server.given), server.asked) == (1, 2)
    server.time += 301  # expired there, and not here for an hour yet
    client.request("POST", "/api/x", body={})
    client.request("GET", "/api/x")
    assert (len(server.given), server.asked) == (2, 5)


def test_a_token_that_is_refused_when_it_is_new_is_refused() -> None:
    server = Server()

    def refuse(request: httpx.Request) -> httpx.Response:
        return server(request) if "token" in request.url.path else httpx.Response(401)

    client = Client("http://ls", token("refresh", time.time() + 9e5), transport=httpx.MockTransport(refuse))
    with pytest.raises(Unauthorized):
        client.request("GET", "/api/x")
    assert len(server.given) == 2, "one to begin with, and one more"


def test_a_legacy_token_is_tried_once() -> None:
    server = Server()
    client = Client("http://ls", "a" * 40, transport=httpx.MockTransport(server))
    with pytest.raises(Unauthorized):
        client.request("GET", "/api/x")
    assert server.asked == 1


@pytest.mark.parametrize(("title", "taken"), [("é" * 50, "é" * 50), ("é" * 51, "é" * 49 + "…"), ("QA", "QA project")])
def test_a_title_of_any_length_is_one_that_label_studio_takes(title: str, taken: str) -> None:
    """A real server took 50 characters, and refused 51 and 2."""
    assert titled(title) == taken
