"""Datasets made, found, read back and refused: on a real Argilla."""

from __future__ import annotations

import http.server
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.stack.annotators import ArgillaAnnotator
from nextlabel.connectors.argilla.config import NONE
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import BackendAddress, NewProject
from nextlabel.connectors.errors import (
    ConfigError,
    LabelingMismatch,
    NotThePlatform,
    PlatformError,
    PlatformUnavailable,
    ProjectNotFound,
    Unauthorized,
)
from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import (
    AnnotationStatus,
    Field,
    FieldKind,
    Labeling,
    LabelKind,
    QueueEntry,
    Record,
    Span,
    Suggestion,
)
from tests.live.argilla_calls import SPORT, Api, Make, numbered
from tests.live.chrome import PASSWORD, ArgillaPage, in_chromium, window

WORDS = {"Ann": "person", "Paris": "place"}
PLACE = """word => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; (node = walk.nextNode()); ) {
    const start = node.textContent.indexOf(word)
    if (start < 0 || !node.parentElement.offsetParent) continue
    const range = document.createRange()
    range.setStart(node, start)
    range.setEnd(node, start + word.length)
    const box = range.getBoundingClientRect()
    return [box.left, box.top + box.height / 2, box.right]
  }
}"""


KINDS = {
    "single": Labeling(LabelKind.SINGLE, ("ثقافة", "🎬 film"), name="Was ist das?", instruction="Choose **one**."),
    "multi": Labeling(LabelKind.MULTI, ("a", "b", "c"), descriptions={"a": "the first letter"}),
    "span": Labeling(LabelKind.SPAN, ("person", "place"), (Field("title"), Field("body")), "names"),
    "image": Labeling(LabelKind.SINGLE, ("cat", "dog"), (Field("photo", FieldKind.IMAGE), Field("caption"))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_is_made_and_read_back(argilla: ArgillaServer, argilla_dataset: Make, kind: str):
    made = argilla_dataset(KINDS[kind], overlap=2, opinions=3)
    assert made.labeling == KINDS[kind]
    by_id = ArgillaConnector.attach(argilla.url, argilla.token, made.project.id)
    by_name = ArgillaConnector.attach(argilla.url, argilla.token, made.project.title)
    for found in (by_id, by_name):
        assert found.labeling == KINDS[kind]
        assert found.project == made.project
        assert found.overlap == 2
        assert found.links() == made.links()
        found.expect(KINDS[kind])
        found.close()
    assert not made.live_predictions
    with pytest.raises(LabelingMismatch, match="lacks the labels other"):
        made.expect(Labeling(KINDS[kind].kind, ("other",), KINDS[kind].fields))


@pytest.fixture
def private_space(argilla: ArgillaServer) -> Iterator[str]:
    """The address of something in front of Argilla that lets in who has the Space's token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            if self.headers["Authorization"] == "Bearer hf_ours":
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                kept = {
                    name: self.headers[name] for name in ("X-Argilla-Api-Key", "Content-Type") if self.headers[name]
                }
                found = httpx.request(self.command, argilla.url + self.path, content=body, headers=kept, timeout=60)
                status, kind, text = found.status_code, found.headers["Content-Type"], found.content
            else:
                status, kind, text = 404, "text/html", b"<!doctype html><title>404 - Hugging Face</title>"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_private_space_is_reached_with_its_token(
    argilla: ArgillaServer, private_space: str, by_hand: Callable[[str, list[str]], str]
):
    made = by_hand("text", ["label"])
    settings = Settings.load(argilla_url=private_space, argilla_api_key=argilla.token)
    with pytest.raises(NotThePlatform, match=r"404 - Hugging Face.*NEXTLABEL_ARGILLA_HEADERS"):
        PLATFORMS["argilla"].attach(settings, made)
    settings = settings.model_copy(update={"argilla_headers": {"Authorization": SecretStr("Bearer hf_ours")}})
    with closing(PLATFORMS["argilla"].attach(settings, made)) as attached:
        assert len(attached.push(numbered(2))) == len(list(attached.records())) == 2


@pytest.fixture
def by_hand(argilla: ArgillaServer, api: Api) -> Callable[[str, list[str]], str]:
    """Makes a dataset that is not of our making: one text field, label questions; returns its id."""

    def make(field: str, questions: list[str]) -> str:
        workspace = api("GET", "/me/workspaces")["items"][0]["id"]
        title = f"by hand {secrets.token_hex(4)}"
        made: str = api("POST", "/datasets", {"name": title, "workspace_id": workspace, "allow_extra_metadata": True})[
            "id"
        ]
        api(
            "POST",
            f"/datasets/{made}/fields",
            {"name": field, "title": field, "required": True, "settings": {"type": "text"}},
        )
        options = [{"value": one, "text": one} for one in ("a", "b")]
        for name in questions:
            settings = {"type": "label_selection", "options": options}
            api(
                "POST",
                f"/datasets/{made}/questions",
                {"name": name, "title": name, "required": True, "settings": settings},
            )
        api("PUT", f"/datasets/{made}/publish")
        return made

    return make


@pytest.mark.parametrize("field", ["human-message-1", "Customer Message", "текст"])
def test_names_of_fields_and_questions_are_what_argilla_takes(
    argilla: ArgillaServer, by_hand: Callable[[str, list[str]], str], tmp_path: Path, field: str
):
    made = by_hand(field, ["event-type", "Was ist das?"])
    (tmp_path / "d.csv").write_text("id,text\n1,hello\n", encoding="utf-8")
    for question in ("event-type", "Was ist das?"):
        text = f"project: {made}\nplatform: argilla\ndata: d.csv\nid: id\nfields: {{{field}: text}}\nlabels: [a, b]\n"
        (tmp_path / "r.yaml").write_text(f"{text}question: {question}\n", encoding="utf-8")
        recipe = Recipe.from_yaml(tmp_path / "r.yaml")
        with closing(ArgillaConnector.attach(argilla.url, argilla.token, made, question=recipe.question)) as found:
            found.expect(recipe.labeling())
            found.push(list(recipe.read()))
            assert [item.record for item in found.records()] == [Record("1", {field: "hello"})]


def test_links_are_answered_also_where_nothing_was_pushed(
    argilla: ArgillaServer, argilla_users: list[str], by_hand: Callable[[str, list[str]], str]
):
    made = by_hand("text", ["label"])
    with closing(ArgillaConnector.attach(argilla.url, argilla.token, made)) as filled:
        filled.push(numbered(3))
    with closing(ArgillaConnector.attach(argilla.url, argilla.token, made)) as attached:
        links = attached.links()
        for key in argilla_users:
            with closing(ArgillaAnnotator(argilla.url, key, attached.project.id)) as annotator:
                assert annotator.pending(links[annotator.ask("GET", "/me")["username"]])[1] == 3


@pytest.mark.parametrize(
    ("kind", "fields", "value", "answer"),
    [
        ("single", {"text": "t"}, ("🎬 film",), "🎬 film"),
        ("multi", {"text": "t"}, ("a", "c"), ["a", "c"]),
        ("multi", {"text": "t"}, (), [NONE]),
        (
            "span",
            {"title": "👩🏽‍🚀 Ann in Łódź, today", "body": "b"},
            (Span(5, 8, "person"), Span(7, 16, "place")),
            [{"start": 8, "end": 11, "label": "person"}, {"start": 10, "end": 19, "label": "place"}],
        ),
        ("span", {"title": "t", "body": "b"}, (), []),
        ("image", {"photo": "data:image/png;base64,iVBORw0KGgo=", "caption": "c"}, ("cat",), "cat"),
    ],
)
def test_answers_and_suggestions_of_every_kind_are_stored_and_read_back(
    argilla_dataset: Make, api: Api, crew: Any, kind: str, fields: dict[str, str], value: Any, answer: Any
):
    connector = argilla_dataset(KINDS[kind])
    [remote] = connector.push([Record("u", fields)]).values()
    [item] = connector.records()
    assert item.record == Record("u", fields)
    connector.publish("nl-1", [QueueEntry(remote, 0, Suggestion(value, 0.75, "model-1"))])
    [suggestion] = api("GET", f"/records/{remote}/suggestions")["items"]
    assert (suggestion["value"], suggestion["agent"], suggestion["type"]) == (answer, "nextlabel/model-1", "model")
    assert suggestion["score"] == ([0.75] * len(answer) or None if isinstance(answer, list) else 0.75)
    crew(connector)[0].submit(remote, suggestion["value"])
    [given] = connector.changes(None).annotations
    assert (given.value, given.status) == (value, AnnotationStatus.SUBMITTED)


@in_chromium
def test_spans_behind_emoji_are_where_the_web_page_has_them(
    argilla: ArgillaServer, argilla_dataset: Make, visit: Callable[..., str]
):
    """The page is right, whatever the server believes: it is where people see a suggestion, and mark another span."""
    name = f"marker{time.monotonic_ns()}"
    visit(name, PASSWORD)
    connector = argilla_dataset(Labeling(LabelKind.SPAN, ("person", "place")))
    text = "👩🏽‍🚀🎬 Ann lives in Paris and likes it a lot"
    ann, paris = (Span(text.index(word), text.index(word) + len(word), label) for word, label in WORDS.items())
    [remote] = connector.push([Record("u", {"text": text})]).values()
    connector.publish("nl-1", [QueueEntry(remote, 0, Suggestion((ann,), 0.9, "model-1"))])
    with window() as page:
        ArgillaPage(page, argilla).sign_in(name)
        page.goto(connector.links()[name])
        page.wait_for_function("() => CSS.highlights && [...CSS.highlights.values()].some(one => one.size)")
        shown = page.evaluate("() => [...CSS.highlights.values()].flatMap(one => [...one].map(String))")
        assert "Ann" in shown
        page.keyboard.press("2")  # the label to mark with
        left, middle, right = page.evaluate(PLACE, "Paris")
        page.mouse.move(left + 1, middle)
        page.mouse.down()
        page.mouse.move(right - 1, middle, steps=8)
        page.mouse.up()
        page.wait_for_function("() => [...CSS.highlights.values()].some(one => [...one].map(String).includes('Paris'))")
        page.keyboard.press("Enter")
        deadline = time.monotonic() + 120
        while not (found := connector.changes(None).annotations):
            assert time.monotonic() < deadline, "nothing was submitted"
            page.wait_for_timeout(200)
    assert set(found[0].value) == {ann, paris}


def test_a_question_among_several_is_chosen(argilla: ArgillaServer, argilla_dataset: Make, api: Api):
    """A dataset as people make it: two questions that we know, another, and a field that is not required."""
    space = next(one for one in api("GET", "/me/workspaces")["items"] if one["name"] == argilla.workspace)
    made = api("POST", "/datasets", {"name": f"by hand {time.time_ns()}", "workspace_id": space["id"]})
    path = f"/datasets/{made['id']}"
    with pytest.raises(PlatformError, match="draft"):
        ArgillaConnector.attach(argilla.url, argilla.token, made["id"])
    text = {"type": "text"}
    api("POST", f"{path}/fields", {"name": "text", "title": "T", "required": True, "settings": text})
    api("POST", f"{path}/fields", {"name": "more", "title": "M", "required": False, "settings": text})
    options = [{"value": value, "text": value} for value in ("a", "b")]
    for name, settings in {
        "why": {"type": "text"},
        "topic": {"type": "label_selection", "options": options},
        "tags": {"type": "multi_label_selection", "options": options},
    }.items():
        body = {"name": name, "title": name, "required": name == "topic", "settings": settings}
        api("POST", f"{path}/questions", body)
    api("PUT", f"{path}/publish")
    with pytest.raises(LabelingMismatch, match=r"several questions.*'topic'.*'tags'; name one .* `question: topic`"):
        ArgillaConnector.attach(argilla.url, argilla.token, made["id"])
    connector = ArgillaConnector.attach(argilla.url, argilla.token, made["id"], question="tags")
    assert connector.labeling == Labeling(LabelKind.MULTI, ("a", "b"), (Field("text"), Field("more")), "tags")
    assert connector.overlap == 1
    [remote] = connector.push([Record("u", {"text": "t"})]).values()
    api("POST", f"/records/{remote}/responses", {"status": "submitted", "values": {"topic": {"value": "a"}}})
    assert [one.value for one in connector.changes(None).annotations] == [()], "they left our question out"
    connector.close()


def test_a_long_title_is_cut_and_kept(argilla: ArgillaServer, argilla_dataset: Make):
    title = f"{time.time_ns()} " + "ü" * 300
    connector = ArgillaConnector.create(argilla.url, argilla.token, NewProject(title, KINDS["multi"]))
    assert connector.project.title == title
    again = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    assert again.project.title == title
    connector.close()
    again.close()
    with pytest.raises(PlatformError, match="already: attach to it"):
        ArgillaConnector.create(argilla.url, argilla.token, NewProject(title, KINDS["multi"]))


def test_nothing_is_left_of_a_dataset_that_could_not_be_made(argilla: ArgillaServer, api: Api):
    many = Labeling(LabelKind.SINGLE, tuple(f"label {number}" for number in range(600)))
    with pytest.raises(PlatformError, match="options"):
        ArgillaConnector.create(argilla.url, argilla.token, NewProject("too many labels", many))
    assert "too many labels" not in {one["name"] for one in api("GET", "/me/datasets")["items"]}


def test_no_such_dataset_or_workspace(argilla: ArgillaServer):
    for project in ("nobody's", "7db0f6df-ca76-4da9-a38e-107ea0813bc4", "17"):
        with pytest.raises(ProjectNotFound, match="no dataset"):
            ArgillaConnector.attach(argilla.url, argilla.token, project)
    with pytest.raises(ProjectNotFound, match=f"no workspace 'elsewhere'.*{argilla.workspace}"):
        ArgillaConnector.create(argilla.url, argilla.token, NewProject("t", KINDS["multi"], workspace="elsewhere"))


@pytest.mark.usefixtures("no_webhooks_left")
def test_a_dataset_that_is_gone_is_not_found(argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    [remote] = connector.push([Record("u", {"text": "t"})]).values()
    api("DELETE", f"/datasets/{connector.project.id}")
    for call in (
        lambda: connector.changes(None),
        lambda: connector.push([Record("v", {"text": "t"})]),
        lambda: connector.publish("nl-1", [QueueEntry(remote, 0, SPORT)]),
        lambda: list(connector.records()),
        lambda: connector.missing([remote]),
        lambda: connector.connect(BackendAddress("http://127.0.0.1:9", "u", "p", "s")),
    ):
        with pytest.raises(ProjectNotFound, match=rf"{connector.project.id}.* was (it )?deleted"):
            call()


def test_a_wrong_key_and_an_annotators_key_are_unauthorized(argilla: ArgillaServer, argilla_users: list[str]):
    with pytest.raises(Unauthorized, match="refused the API key") as caught:
        ArgillaConnector.attach(argilla.url, "a wrong secret", "x")
    assert "a wrong secret" not in str(caught.value)
    with pytest.raises(Unauthorized, match="'annotator0' is an annotator"):
        ArgillaConnector.attach(argilla.url, argilla_users[0], "x")


def test_an_admin_of_the_workspace_may_do_it_all(argilla: ArgillaServer, visit: Callable[..., str]):
    key = visit(f"admin{time.time_ns()}", role="admin")
    connector = ArgillaConnector.create(argilla.url, key, NewProject(f"an admin's {time.time_ns()}", KINDS["multi"]))
    ids = list(connector.push([Record("u", {"text": "t"})]).values())
    connector.publish("nl-1", [QueueEntry(ids[0], 0, Suggestion(("a",), 0.5, "m"))])
    assert connector.changes(None).annotations == ()
    connector.close()


@pytest.mark.parametrize(("overlap", "opinions"), [(0, None), (2, 1)])
def test_senseless_numbers_of_opinions_are_refused(argilla: ArgillaServer, overlap: int, opinions: int | None):
    with pytest.raises(ConfigError, match="opinions"):
        ArgillaConnector.create(
            argilla.url, argilla.token, NewProject("t", KINDS["multi"], overlap=overlap, opinions=opinions)
        )


def test_more_opinions_are_asked_for_within_what_the_dataset_allows_and_beyond(
    argilla_dataset: Make, api: Api, crew: Any
):
    connector = argilla_dataset(overlap=1, opinions=2)
    ids = list(connector.push(numbered(2)).values())
    crew(connector)[0].submit(ids[0], "sport")
    path = f"/datasets/{connector.project.id}"
    connector.ask_again(ids[:1], 2)
    assert api("GET", path)["distribution"]["min_submitted"] == 2
    connector.ask_again([], 9)
    connector.ask_again(ids[:1], 3)
    assert api("GET", path)["distribution"]["min_submitted"] == 3
    assert connector.overlap == 1


def test_a_server_that_refuses_more_opinions_is_quoted_with_the_fix(
    argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch
):
    """Argilla 2.8 takes it at any time; its error for a dataset that has responses is kept for other releases."""
    connector = argilla_dataset()
    request = httpx.Client.request

    def refuse(self: httpx.Client, method: str, url: Any, **options: Any) -> httpx.Response:
        if method != "PATCH":
            return request(self, method, url, **options)
        said = {"code": "update_distribution_with_existing_responses", "message": "has responses"}
        return httpx.Response(422, json=said, request=httpx.Request(method, url))

    monkeypatch.setattr(httpx.Client, "request", refuse)
    with pytest.raises(PlatformError, match=r"has responses.*Set `opinions` in the recipe"):
        connector.ask_again(["x"], 2)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6900", "ftp://host"])
def test_what_is_no_address_is_named(url: str):
    with pytest.raises(ConfigError, match="no address of"):
        ArgillaConnector.attach(url, "key", "x")
    with pytest.raises(ConfigError, match="API key is empty"):
        ArgillaConnector.attach("http://127.0.0.1:1", " ", "x")


def test_a_server_that_is_down_is_unavailable():
    with pytest.raises(PlatformUnavailable, match="Argilla can't be reached"):
        ArgillaConnector.attach("http://127.0.0.1:1", "key", "x")


def test_something_else_at_the_address_is_noticed(argilla: ArgillaServer):
    with pytest.raises((PlatformError, PlatformUnavailable)):
        ArgillaConnector.attach(f"{argilla.url}/dataset", argilla.token, "x")


def test_no_secret_in_representations(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    assert argilla.token not in repr(connector) + repr(connector._client) + repr(connector.project)
