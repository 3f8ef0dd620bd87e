"""The links in the guidelines, in Argilla's stock web page and a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import httpx

from nextlabel.backend.stack import ArgillaServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.records import Record
from tests.live.chrome import NEEDS_CHROMIUM, PASSWORD, ArgillaPage, window

pytestmark = NEEDS_CHROMIUM


def test_annotators_find_their_link_and_do_not_see_the_markers(
    argilla: ArgillaServer, argilla_dataset: Callable[..., ArgillaConnector], visit: Callable[..., str]
):
    from playwright.sync_api import expect

    name = f"under_score_{time.monotonic_ns()}"
    visit(name, PASSWORD)
    connector = argilla_dataset()
    connector.push([Record("u1", {"text": "a text"})])
    address = f"{argilla.url}/api/v1/datasets/{connector.project.id}"
    headers = {"X-Argilla-Api-Key": argilla.token}
    httpx.patch(address, headers=headers, json={"guidelines": "# Rules\n\nBe kind."}).raise_for_status()
    connector._queue.look_after(connector.form)
    link = connector.links()[name]
    connector._webhooks.guidelines(connector.links())
    with window() as page:
        ArgillaPage(page, argilla).sign_in(name)
        page.goto(f"{argilla.url}/dataset/{connector.project.id}/annotation-mode")
        page.locator(".panel__header", has_text="guidelines").first.click()
        shown = page.locator(".markdown-render", has_text="Be kind.").first
        expect(shown).to_contain_text("Rules")
        expect(shown).not_to_contain_text("rewritten by the service")
        mine = shown.get_by_role("link", name=name, exact=True)
        expect(mine).to_have_attribute("href", link)
        with page.expect_popup() as opened:
            mine.click()
        opened.value.wait_for_url(re.compile(re.escape(link.partition("?")[2])))
