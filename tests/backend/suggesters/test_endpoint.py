"""A model behind an address: what it may answer, and what is said where it doesn't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from nextlabel.backend.suggesters.answers import proposal_of
from nextlabel.backend.suggesters.endpoint import of_url
from nextlabel.connectors.errors import DataError, PlatformUnavailable, Unauthorized


class Others(HTTPServer):
    """Somebody's service: answers what it is told to, in turn, the last again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Others

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization", ""), body))
        answers = self.server.answers
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def others() -> Iterator[Others]:
    with Others() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_texts_are_posted_and_answers_read(others: Others, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_TOKEN", "secret")
    others.answers = [(200, {"predictions": [{"label": "a", "score": 0.9}, None]})]
    found = of_url(others.url, "THEIR_TOKEN", 5)(["one", "two"])
    assert [dict(one.probabilities) for one in found] == [{"a": 0.9}, {}]
    assert others.asked == [("/api/predict", "Bearer secret", {"texts": ["one", "two"]})]
    of_url(f"{others.url}/model?v=1", "", 5)(["one", "two"])
    assert others.asked[1][:2] == ("/model?v=1", "")


def test_one_that_is_busy_is_asked_again(others: Others) -> None:
    others.answers = [(503, {"detail": "busy"}), (429, {}), (200, ["a"])]
    assert dict(of_url(others.url, "", 5, wait_s=0.01)(["one"])[0].probabilities) == {"a": 0.7}
    assert len(others.asked) == 3
    others.answers = [(500, b"oh no")]
    with pytest.raises(PlatformUnavailable, match="answered 500: oh no; it was tried 3 times"):
        of_url(others.url, "", 5, wait_s=0.01)(["one"])


@pytest.mark.parametrize(
    ("status", "answer", "error", "why"),
    [
        (401, {}, Unauthorized, "name the variable with its token"),
        (422, {"detail": "no such field"}, PlatformUnavailable, "answered 422 to a list of texts: .*no such field"),
        (200, b"<html>", PlatformUnavailable, "something else than JSON: <html>"),
        (200, {"predictions": []}, PlatformUnavailable, "answered 0 of predictions to 1 texts"),
        (200, {"hello": 1}, PlatformUnavailable, "answered no list of predictions to 1 texts"),
        (200, [{"label": "a", "score": 7}], DataError, "can't be read as a label"),
    ],
)
def test_what_is_wrong_is_told(others: Others, status: int, answer: Any, error: type[Exception], why: str) -> None:
    others.answers = [(status, answer)]
    with pytest.raises(error, match=why):
        of_url(others.url, "", 5, wait_s=0.01)(["one"])
    assert len(others.asked) == 1  # to ask again would change nothing


def test_nobody_there(others: Others) -> None:
    url = others.url.replace(str(others.server_port), "9")
    with pytest.raises(PlatformUnavailable, match=r"http://127.0.0.1:9 does not answer \(ConnectError"):
        of_url(url, "", 5, wait_s=0.01)(["one"])


OURS = {"label": "a", "labels": ["a"], "spans": [], "score": 0.8, "probabilities": {"a": 0.8, "b": 0.2}, "problem": ""}
SPANS = {**OURS, "probabilities": {}, "spans": [{"start": 0, "end": 3, "label": "x", "score": 0.6}]}


@pytest.mark.parametrize(
    ("answer", "probabilities"),
    [
        (OURS, {"a": 0.8, "b": 0.2}),
        ({**OURS, "problem": "a picture can't be read"}, {}),
        ({"label": None, "labels": [], "spans": [], "score": 0.0, "probabilities": {}}, {}),
        (None, {}),
        ("", {}),
        ([], {}),
        ("a", {"a": 0.7}),
        (["a", "b"], {"a": 0.7, "b": 0.7}),
        ({"a": 0.1, "b": 0.9, "c": 0}, {"a": 0.1, "b": 0.9}),
        ([{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}], {"a": 0.9, "b": 0.1}),
        ({"labels": ["a"]}, {"a": 0.7}),
    ],
)
def test_forms_of_an_answer(answer: Any, probabilities: dict[str, float]) -> None:
    assert dict(proposal_of(answer).probabilities) == probabilities


@pytest.mark.parametrize(
    "answer",
    [
        SPANS,
        [{"start": 0, "end": 3, "entity_group": "x", "score": 0.6}],
        [(0, 3, "x", 0.6)],
        {"spans": [{"start_offset": 0, "end_offset": 3, "label": "x", "score": 0.6}]},
    ],
)
def test_forms_of_marks(answer: Any) -> None:
    (mark,) = proposal_of(answer).marks
    assert (mark.start, mark.end, mark.label, mark.score) == (0, 3, "x", 0.6)


@pytest.mark.parametrize("answer", [5, {"a": "much"}, [1, 2], {"label": "a", "score": -1}, {"spans": [{"start": 1}]}])
def test_what_can_not_be_read(answer: Any) -> None:
    with pytest.raises(DataError, match="can't be read as a label, probabilities or marks"):
        proposal_of(answer)
