"""What the tests in a real browser share: Chromium, and Argilla's page as an annotator has it before them."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nextlabel.backend.stack import ArgillaServer

CHROMIUM = os.environ.get("NEXTLABEL_CHROMIUM") or shutil.which("chromium") or ""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUIET_S = 0.25
"""Without a request for so long, a page has come to rest."""
PASSWORD = "a passphrase for the browser tests"

NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium, or set NEXTLABEL_CHROMIUM"),
]
"""For a module, as its ``pytestmark``."""


def in_chromium(test: Callable[..., None]) -> Callable[..., None]:
    """For one test among others."""
    for mark in NEEDS_CHROMIUM:
        test = mark(test)
    return test


@contextmanager
def window() -> Iterator[Any]:
    """The page of a new, headless browser: playwright's ``Page``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        browser.close()


class ArgillaPage:
    """Argilla's stock web page in one window, for a dataset with one text field and one question for a label.

    ``searches`` grows by (offset, limit, sort) with each search for records that the page makes.
    """

    def __init__(self, page: Any, server: ArgillaServer) -> None:
        self.page, self.server = page, server
        self.searches: list[tuple[int, int, Any]] = []
        self._under_way: set[Any] = set()
        self._changed = time.monotonic()
        page.on("request", self._asked)
        page.on("requestfinished", self._answered)
        page.on("requestfailed", self._answered)

    def sign_in(self, name: str) -> None:
        self.page.goto(f"{self.server.url}/sign-in")
        self.page.fill("input[type=text]", name)
        self.page.fill("input[type=password]", PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(re.compile(r"^(?!.*/sign-in)"))

    def sign_out(self) -> None:
        self.page.context.clear_cookies()
        self.page.evaluate("() => localStorage.clear()")

    def open(self, link: str) -> None:
        """Go to a link that shows a record."""
        self.page.goto(link)
        self.come_to(lambda: self.text() is not None)

    def settle(self) -> None:
        """Wait until the page has asked for what it needs, and has it."""
        deadline = time.monotonic() + 120
        while self._under_way or time.monotonic() - self._changed < QUIET_S:
            assert time.monotonic() < deadline, "the page does not come to rest"
            self.page.wait_for_timeout(20)

    def text(self) -> str | None:
        """The text of the record shown; None where the page shows none."""
        shown: str | None = self.page.evaluate(
            "() => document.querySelector('.fields .content-area')?.innerText.trim()"
        )
        return shown

    def selected(self) -> str | None:
        """The label that is chosen, by hand or by a suggestion."""
        chosen: str | None = self.page.evaluate("() => document.querySelector('label.label-active')?.title")
        return chosen

    def choose(self, label: str) -> None:
        """Choose a label, unless it is already."""
        if self.selected() != label:
            self.page.locator(f"label.label-text[title='{label}']").first.click()

    def press(self, key: str, *, stores: bool = True) -> None:
        """Press a key that has the page go on; ``stores``: it sends a response first."""
        if stores:
            with self.page.expect_response(_stores):
                self.page.keyboard.press(key)
        else:
            self.page.keyboard.press(key)
        self.settle()

    def submit(self, label: str) -> None:
        """Answer the record shown; another one is shown then, or none."""
        before = self.text()
        self.choose(label)
        self.press("Enter")
        self.come_to(lambda: self.text() != before)

    def come_to(self, state: Callable[[], bool], limit_s: float = 10) -> None:
        """Give the page time to come to a ``state`` and to rest: it may draw, or ask, long after an answer came."""
        deadline = time.monotonic() + limit_s
        while not state() and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        self.settle()

    def _asked(self, request: Any) -> None:
        self._under_way.add(request)
        self._changed = time.monotonic()
        address = urlsplit(request.url)
        if address.path.endswith("/records/search"):
            where = parse_qs(address.query)
            sort = request.post_data_json.get("sort", [])
            self.searches.append((int(where["offset"][0]), int(where["limit"][0]), sort))

    def _answered(self, request: Any) -> None:
        self._under_way.discard(request)
        self._changed = time.monotonic()


def _stores(reply: Any) -> bool:
    return "/responses" in reply.url and reply.request.method in ("POST", "PUT")
