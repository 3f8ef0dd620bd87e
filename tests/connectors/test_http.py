"""What every platform's client makes of answers and failures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.errors import (
    ConfigError,
    ConnectorError,
    NotThePlatform,
    PlatformError,
    PlatformUnavailable,
    Unauthorized,
)
from nextlabel.connectors.http import SHORT, dump, reason, server_time


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://platform.example/", "a secret key", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Unauthorized),
        (403, Unauthorized),
        (404, PlatformError),
        (409, PlatformError),
        (422, PlatformError),
        (301, PlatformError),
        (408, PlatformUnavailable),
        (429, PlatformUnavailable),
        (500, PlatformUnavailable),
        (503, PlatformUnavailable),
    ],
)
def test_a_status_becomes_the_error_that_stands_for_it(status: int, error: type[ConnectorError]):
    with pytest.raises(error, match=r"GET /x: Argilla .*told you so") as caught:
        client(lambda _: httpx.Response(status, json={"detail": "told you so"})).request("GET", "/x")
    assert type(caught.value) is error
    assert "a secret key" not in str(caught.value)
    if isinstance(caught.value, PlatformError):
        assert (caught.value.status, caught.value.body) == (status, "told you so")


PAGE = "<!doctype html><html><head><title>404 - Hugging Face</title></head><body>Sorry.</body></html>"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_page_of_something_in_front_is_not_taken_for_the_platform(status: int):
    """Nor for what it would have said: that something is not there, say."""
    with pytest.raises(NotThePlatform, match=r"404 - Hugging Face.*give it in NEXTLABEL_ARGILLA_HEADERS") as caught:
        client(lambda _: httpx.Response(status, text=PAGE)).find("/x")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, html=PAGE), "a web page answered, which may be one to log in"),
        (
            httpx.Response(302, headers={"location": "https://sso.example.org/login?token=x"}),
            r"leads to https://sso\.example\.org/login, which may be a page to log in",
        ),
        (httpx.Response(302, headers={"location": "/login"}), r"leads to http://platform\.example/login, which"),
        (httpx.Response(301, headers={"location": "https://platform.example/x"}), "write its address with https://"),
    ],
)
def test_a_page_to_log_in_is_no_platform(answer: httpx.Response, says: str):
    seen: list[int] = []

    def reply(_: httpx.Request) -> httpx.Response:
        seen.append(answer.status_code)
        return answer

    with pytest.raises(NotThePlatform, match=says) as caught:
        client(reply).get("/x")
    assert len(seen) == 1, "asked again at once, it says the same"
    assert "token=x" not in str(caught.value)


@pytest.mark.parametrize("header", ["60", "Tue, 01 Dec 2099 12:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_wants_to_be_left_alone_is(status: int, header: str):
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(status, headers={"Retry-After": header}, json={"detail": "throttled"})

    asked = client(answer)
    with pytest.raises(PlatformUnavailable, match="throttled"):
        asked.get("/x")
    with ThreadPoolExecutor() as threads:  # whoever asks
        for found in [threads.submit(asked.get, f"/{number}") for number in range(4)]:
            with pytest.raises(PlatformUnavailable, match=r"wants to be left alone until \d\d:\d\d:\d\d"):
                found.result()
    assert seen == ["/x"]


def test_a_server_is_asked_again_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch):
    now, busy = [100.0], [True]
    monkeypatch.setattr("nextlabel.connectors.in_between.elapsed", lambda: now[0])

    def answer(_: httpx.Request) -> httpx.Response:
        if busy:
            busy.clear()
            return httpx.Response(429, headers={"Retry-After": "60"})
        return httpx.Response(200, json={"is": "there"})

    asked = client(answer)
    for _ in range(2):
        with pytest.raises(PlatformUnavailable):
            asked.get("/x")
    now[0] += 60
    assert asked.get("/x") == {"is": "there"}


def test_a_proxy_that_is_in_the_way_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(PlatformUnavailable) as caught:
        Client("http://platform.example", "key").request("GET", "/x")
    assert "HTTP_PROXY has this go through http://127.0.0.1:9: to go past that, add platform.example" in str(
        caught.value
    )
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(PlatformUnavailable) as caught:
        Client("http://127.0.0.1:9", "key").request("GET", "/x")
    assert "HTTP_PROXY" not in str(caught.value)


def test_headers_go_with_every_request_beside_the_key():
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json={})

    headers = {"Authorization": "Bearer hf_x"}
    Client("http://a.example", "key", headers, transport=httpx.MockTransport(answer)).get("/x")
    assert (seen[0]["authorization"], seen[0]["x-argilla-api-key"]) == ("Bearer hf_x", "key")


def test_a_header_that_carries_the_key_is_not_ours_to_give_twice():
    with pytest.raises(ConfigError, match="X-Argilla-Api-Key carries the Argilla API key"):
        Client("http://a.example", "key", {"x-argilla-api-key": "another"})


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout])
def test_what_may_be_repeated_is_tried_again_and_what_may_not_is_not(failure: type[httpx.TransportError]):
    for again, tries in ((True, 3), (False, 1)):
        count = itertools.count(1)

        def answer(request: httpx.Request, count: Any = count) -> httpx.Response:
            if next(count) < 3:
                raise failure("broken", request=request)
            return httpx.Response(200, json={"fine": True})

        if again:
            assert client(answer).request("GET", "/x", again=True) == {"fine": True}
        else:
            with pytest.raises(PlatformUnavailable, match="Argilla"):
                client(answer).request("POST", "/x")
        assert next(count) == tries + 1


def test_refusals_are_not_tried_again():
    asked = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(422, text="no")

    with pytest.raises(PlatformError):
        client(refuse).request("GET", "/x", again=True)
    assert len(asked) == 1


def test_a_server_that_stays_away_is_given_up():
    with pytest.raises(PlatformUnavailable):
        client(lambda _: httpx.Response(503)).request("GET", "/x", again=True)


def test_a_request_carries_the_token_and_json_in_utf8():
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    assert client(answer).request("POST", "/x", params={"a": "ü"}, body={"text": "✨"}) is None
    [request] = seen
    assert str(request.url) == "http://platform.example/x?a=%C3%BC"
    assert request.headers["X-Argilla-Api-Key"] == "a secret key"
    assert request.headers["Content-Type"] == "application/json"
    assert request.content == '{"text":"✨"}'.encode()


def test_an_answer_that_is_no_json_is_no_answer_of_the_platform():
    page = "<html><title>Welcome to nginx</title>" + "x" * 1000
    with pytest.raises(PlatformError, match="is this the address of Argilla") as caught:
        client(lambda _: httpx.Response(200, text=page)).request("GET", "/x")
    assert caught.value.body == "Welcome to nginx"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"detail": "no such thing"}', "no such thing"),
        ('{"validation_errors": {"title": ["short"]}, "detail": "d"}', '{"title": ["short"]}'),
        (b"\xff\xfe", "��"),
        ("<html><title>\n502 Bad Gateway </title>", "502 Bad Gateway"),
        ({"code": 7}, '{"code": 7}'),
        ("plain", "plain"),
        ("x" * 1000, "x" * SHORT),
    ],
)
def test_the_telling_part_of_a_body_is_quoted(body: object, says: str):
    assert reason(body) == says


@pytest.mark.parametrize(
    ("body", "error"), [({"a": "\ud83d"}, UnicodeEncodeError), ({"a": float("nan")}, ValueError), ({1j}, TypeError)]
)
def test_what_no_platform_could_store_is_not_sent(body: Any, error: type[Exception]):
    with pytest.raises(error):
        dump(body)


def test_the_servers_clock():
    stamped = httpx.Response(200, headers={"Date": "Sun, 22 Nov 2026 09:26:54 GMT"})
    when = server_time(stamped)
    assert when is not None
    assert when.isoformat() == "2026-11-22T09:26:54+00:00"
    assert server_time(httpx.Response(200)) is None
    twice = [("Date", "Sun, 22 Nov 2026 04:00:09 GMT"), ("Date", "Sun, 22 Nov 2026 04:00:07 -0000")]
    assert server_time(httpx.Response(200, headers=twice)) == datetime(2026, 11, 22, 4, 0, 7, tzinfo=UTC)
    assert server_time(httpx.Response(200, headers={"Date": "yesterday"})) is None


def test_the_servers_time_goes_on_whatever_is_done_to_ours(monkeypatch: pytest.MonkeyPatch):
    passed = [1000.0]
    monkeypatch.setattr("nextlabel.connectors.http.elapsed", lambda: passed[0])
    dates = iter([{"Date": "Sun, 22 Nov 2099 09:26:54 GMT"}, {}, {"Date": "Sun, 22 Nov 2099 10:00:00 GMT"}])
    asking = client(lambda _: httpx.Response(200, json=1, headers=next(dates)))
    assert abs(asking.now() - datetime.now(UTC)) < timedelta(minutes=1), "nobody has told us yet"
    for seconds, expected in ((0.0, "09:26:54"), (6.0, "09:27:00"), (0.0, "10:00:00")):
        passed[0] += seconds
        asking.request("GET", "/x")
        assert asking.now().isoformat() == f"2099-11-22T{expected}+00:00"
