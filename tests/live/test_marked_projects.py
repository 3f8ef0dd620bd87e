"""A project that is made carries a mark, by which it is found again when nobody noted it; on both platforms."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaServer, LabelStudioServer, PlatformServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Labeling, LabelKind, Record
from tests.live.argilla_calls import api as argilla_api
from tests.live.label_studio_calls import api as label_studio_api

ASKED = Labeling(LabelKind.SINGLE, ("sport", "politics"))
Connector = type[ArgillaConnector] | type[LabelStudioConnector]
KINDS: dict[str, Connector] = {"label-studio": LabelStudioConnector, "argilla": ArgillaConnector}
MADE = {"label-studio": "/api/projects/", "argilla": "/api/v1/datasets"}


@pytest.fixture(params=["label_studio", "argilla"])
def server(request: pytest.FixtureRequest) -> PlatformServer:
    found: PlatformServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def kind(server: PlatformServer) -> Connector:
    return KINDS[server.platform]


@pytest.fixture
def mark() -> str:
    """As a store draws it."""
    return secrets.token_hex(3)


@pytest.fixture
def make(server: PlatformServer, kind: Connector) -> Callable[..., str]:
    def create(mark: str, records: int = 0) -> str:
        made = kind.create(server.url, server.token, NewProject(f"marked {secrets.token_hex(4)}", ASKED, mark=mark))
        if records:
            made.push([Record(f"u{number}", {"text": f"text {number}"}) for number in range(records)])
        made.close()
        return made.project.id

    return create


def test_it_is_found_by_its_mark_alone(
    server: PlatformServer, kind: Connector, make: Callable[..., str], mark: str
) -> None:
    make("")
    make(secrets.token_hex(3))
    assert kind.marked(server.url, server.token, mark) == []
    made = make(mark)
    assert kind.marked(server.url, server.token, mark) == [made]


def test_of_several_the_filled_one_comes_first_and_the_empty_ones_are_tidied_away(
    server: PlatformServer, kind: Connector, make: Callable[..., str], mark: str
) -> None:
    empty, filled, used, other = make(mark), make(mark, records=1), make(mark), make(secrets.token_hex(3))
    found = kind.marked(server.url, server.token, mark)
    assert found[0] == filled
    assert set(found) == {empty, filled, used}
    kind.marked(server.url, server.token, mark, tidy=used)
    assert set(kind.marked(server.url, server.token, mark)) == {filled, used}
    kind.attach(server.url, server.token, other).close()


@contextmanager
def lost_replies(path: str) -> Iterator[None]:
    """What is posted to ``path`` is done, and nobody hears of it."""
    handle = httpx.HTTPTransport.handle_request

    def lose(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        answer = handle(self, request)
        if request.method == "POST" and request.url.path == path:
            answer.read()
            answer.close()
            raise httpx.ReadTimeout("no answer", request=request)
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(httpx.HTTPTransport, "handle_request", lose)
        yield


def test_what_a_lost_reply_made_is_not_made_again(
    server: PlatformServer, kind: Connector, make: Callable[..., str], mark: str
) -> None:
    with lost_replies(MADE[server.platform]), pytest.raises(PlatformUnavailable):
        make(mark)
    found = kind.marked(server.url, server.token, mark)
    if server.platform == "argilla":
        assert found == [], "a draft: its questions were never sent"
        found = [make(mark)]
    assert kind.marked(server.url, server.token, mark) == found
    assert len(found) == 1
    with closing(kind.attach(server.url, server.token, found[0])) as connector:
        connector.expect(ASKED)
    assert in_all(server, mark) == 1


def in_all(server: PlatformServer, mark: str) -> int:
    """How many projects carry the mark, finished or not."""
    if isinstance(server, ArgillaServer):
        found: list[Any] = argilla_api(server, "GET", "/me/datasets")["items"]
        return sum((one["metadata"] or {}).get("nextlabel", {}).get("store") == mark for one in found)
    assert isinstance(server, LabelStudioServer)
    found = label_studio_api(server, "GET", "/api/projects/?page_size=100").json()["results"]
    return sum(mark in one["description"] for one in found)


def test_it_is_found_among_more_than_a_page(
    label_studio: LabelStudioServer, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextlabel.connectors.label_studio.client.PAGE", 2)
    one = LabelStudioConnector.create(label_studio.url, label_studio.token, NewProject("the first", ASKED, mark=mark))
    for number in range(5):
        LabelStudioConnector.create(label_studio.url, label_studio.token, NewProject(f"number {number}", ASKED)).close()
    assert LabelStudioConnector.marked(label_studio.url, label_studio.token, mark) == [one.project.id]
    one.close()
