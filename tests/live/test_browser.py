"""The stock web page of Label Studio, in a real browser, beside a running nextlabel."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess, past
from nextlabel.backend.store import Store
from tests.live.chrome import NEEDS_CHROMIUM, PASSWORD, window

LABELS = ("cat", "oak", "pebble")

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def backend(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    folder = tmp_path_factory.mktemp("browser")
    subjects = ("a cat asleep", "an oak in leaf", "a pebble, smooth")
    texts = [f"{subjects[i % 3]} near house number {i}." for i in range(60)]
    (folder / "texts.csv").write_text("\n".join(["text", *(f'"{text}"' for text in texts)]) + "\n")
    recipe = folder / "browser.yaml"
    recipe.write_text(
        f"data: texts.csv\nfields: text\nlabels: [{', '.join(LABELS)}]\nencoder: hashing\naudit_share: 0.3\n"
    )
    process = BackendProcess(str(recipe), label_studio, folder / "home")
    process.start()
    process.wait_ready()
    yield process
    process.stop()


@dataclass
class Page:
    """What an annotator sees: Label Studio's labeling page."""

    page: Any
    server: LabelStudioServer

    def log_in(self, email: str) -> None:
        self.page.goto(f"{self.server.url}/user/login/")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(re.compile(r"^(?!.*/login/)"))

    def label_all_tasks(self, project: str) -> None:
        self.page.goto(f"{self.server.url}/projects/{project}/data")
        self.page.get_by_role("button", name="Label All Tasks").click()

    def text(self) -> str:
        shown = self.page.get_by_text(re.compile(r"near house number \d+\.")).last
        shown.wait_for()
        return str(shown.inner_text()).strip()

    def wait_for_other_than(self, text: str) -> str:
        """The next text, once the page shows one."""
        deadline = time.monotonic() + 120
        while (shown := self.text()) == text:
            assert time.monotonic() < deadline, f"the page still shows {text!r}"
            self.page.wait_for_timeout(50)
        return shown

    def selected(self) -> str | None:
        self.page.wait_for_selector("input[type=checkbox][name]", state="attached")
        chosen = [label for label in LABELS if self.page.locator(f"input[name={label}]").is_checked()]
        return chosen[0] if chosen else None

    def submit(self, label: str) -> None:
        if self.selected() != label:
            self.page.locator(f"input[name={label}]").check(force=True)
        with self.page.expect_response(lambda reply: "/annotations" in reply.url and reply.request.method == "POST"):
            self.page.get_by_test_id("bottombar-submit-button").click()


@pytest.fixture
def page(label_studio: LabelStudioServer) -> Iterator[Page]:
    with window() as page:
        yield Page(page, label_studio)


def ranking(server: LabelStudioServer, project: str) -> list[tuple[str, str | None]]:
    """(text, suggested label) in the order of the generation in force, as Label Studio stores it, unanswered only."""
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Token {server.token}"}, timeout=60, trust_env=False
    ) as http:
        version = http.get(f"/api/projects/{project}").json()["model_version"]
        tasks = {
            task["id"]: task
            for task in http.get("/api/tasks", params={"project": project, "page_size": 100}).json()["tasks"]
        }
        predictions = [
            one
            for one in http.get("/api/predictions", params={"project": project}).json()
            if one["model_version"] == version
        ]
    queue = []
    for one in sorted(predictions, key=lambda one: one["score"]):
        if not tasks[one["task"]]["total_annotations"]:
            result = one["result"]
            queue.append((tasks[one["task"]]["data"]["text"], result[0]["value"]["choices"][0] if result else None))
    return queue


def truth(text: str) -> str:
    return next(label for label in LABELS if label in text)


def test_ten_submits_in_the_stock_page(backend: BackendProcess, label_studio: LabelStudioServer, page: Page) -> None:
    project = backend.status()["project"]["id"]
    label_studio.add_user("browser@example.com", PASSWORD)
    label_studio.add_user("second@example.com", PASSWORD)
    page.log_in("browser@example.com")
    page.label_all_tasks(project)
    seen: list[tuple[str, str | None]] = []
    text = page.text()
    first_queue = queue = ranking(label_studio, project)
    with Store.open(backend.home / "browser" / "store.sqlite") as store:
        audit = {item.record.fields["text"] for item in store.records() if item.audit}
    # Which of two queues a task comes from is drawn; that ten hold no audit record is rare, but it happens.
    while len(seen) < 10 or (len(seen) < 35 and not audit & {text for text, _ in seen}):
        # The page asks for the next task the moment it has submitted: from the old queue or from the new one.
        shown = (text, page.selected())
        assert shown in (queue[0], ranking(label_studio, project)[0])
        seen.append(shown)
        head = backend.status()["log_head"]
        queue = [one for one in ranking(label_studio, project) if one[0] != text]
        page.submit(truth(text))
        text = page.wait_for_other_than(text)
        backend.wait(past("generation_log_head", head), "a queue that saw the label")

    assert {shown for shown, _ in seen} & audit, "no audit record came up"
    for one, suggested in seen:
        assert (suggested is None) == (one in audit)

    # Re-ordered after the retrain: somebody new does not get the old order.
    backend.wait_settled()  # or another queue may be published between the page's look and ours
    page.page.context.clear_cookies()
    page.log_in("second@example.com")
    page.label_all_tasks(project)
    expected = [one for one in ranking(label_studio, project) if one[0] != text]  # held by the first annotator
    assert page.text() == expected[0][0], f"held: {text}; expected: {expected[:3]}"
    old = [one for one, _ in first_queue if one in {left for left, _ in expected}]
    assert [one for one, _ in expected][: len(old)] != old
