"""The stock web page of Argilla, in a real browser, beside a running nextlabel."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from nextlabel.backend.stack.backend import BackendProcess, past
from nextlabel.backend.store import Store
from tests.live.argilla_calls import api, forget_webhooks
from tests.live.chrome import NEEDS_CHROMIUM, PASSWORD, ArgillaPage, window
from tests.waiting import wait_for

LABELS = ("cat", "oak", "pebble")
HELD = 16
"""Records that a page may hold unanswered."""

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def backend(argilla: ArgillaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    forget_webhooks(argilla)
    folder = tmp_path_factory.mktemp("browser")
    subjects = ("a cat asleep", "an oak in leaf", "a pebble, smooth")
    texts = [f"{subjects[i % 3]} near house number {i}." for i in range(90)]
    (folder / "texts.csv").write_text("\n".join(["text", *(f'"{text}"' for text in texts)]) + "\n")
    recipe = folder / "browser.yaml"
    recipe.write_text(
        f"title: browser {secrets.token_hex(4)}\nplatform: argilla\ndata: texts.csv\nfields: text\n"
        f"labels: [{', '.join(LABELS)}]\nencoder: hashing\naudit_share: 0.3\n"
    )
    process = BackendProcess(str(recipe), argilla, folder / "home")
    process.start()
    process.wait_ready()
    yield process
    process.stop()
    forget_webhooks(argilla)


def queue(person: ArgillaAnnotator, link: str) -> list[tuple[str, str | None]]:
    """(text, suggested label) of all that waits for a person, in the order of their link."""
    records, total = person.pending(link, limit=100)
    assert len(records) == total
    return [(record["fields"]["text"], suggestion(record).get("value")) for record in records]


def suggestion(record: dict[str, Any]) -> dict[str, Any]:
    return next(iter(record.get("suggestions") or ()), {})


def truth(text: str) -> str:
    return next(label for label in LABELS if label in text)


def test_ten_submits_in_the_stock_page(
    backend: BackendProcess, argilla: ArgillaServer, visit: Callable[..., str]
) -> None:
    names = [f"{name}-{secrets.token_hex(4)}" for name in ("browser", "second")]
    status = backend.wait_settled()
    dataset, models = status["project"]["id"], {status["model_version"]}
    keys = [visit(name, PASSWORD) for name in names]
    status = backend.wait(lambda status: set(names) <= status["links"].keys(), "links for two newcomers")
    link, other = (status["links"][name] for name in names)
    with (
        window() as stock,
        ArgillaAnnotator(argilla.url, keys[0], dataset) as first,
        ArgillaAnnotator(argilla.url, keys[1], dataset) as second,
    ):
        page = ArgillaPage(stock, argilla)
        page.sign_in(names[0])
        page = follow_the_guidelines(page, dataset, names[0], link)
        before = queue(second, other)
        seen: list[tuple[str, str | None]] = []
        with Store.open(backend.home / "browser" / "store.sqlite") as store:
            audit = {item.record.fields["text"] for item in store.records() if item.audit}
        # Somebody's share is drawn at random: one in a few hundred thousand has no audit record among 35.
        while len(seen) < 10 or (len(seen) < 35 and not audit & {text for text, _ in seen}):
            shown = (page.text(), page.selected())
            assert shown == queue(first, link)[0]
            seen.append(shown)
            head = backend.status()["log_head"]
            page.submit(truth(shown[0]))
            assert page.text() != shown[0]
            status = backend.wait(past("generation_log_head", head), "a new queue")
            models.add(status["model_version"])
        assert audit & {text for text, _ in seen}, "no audit record came up"
        for text, suggested in seen:
            assert (suggested is None) == (text in audit)
        agents = {suggestion(record).get("agent") for record in second.pending(other, limit=100)[0]} - {None}
        assert agents
        assert agents <= {f"nextlabel/{model}" for model in models}, "a suggestion of somebody else"

        # Re-ordered after the retrain: somebody fresh does not get the old order of what nobody has in hand.
        status = backend.wait(lambda status: status["state"] == "idle", "the whole queue")
        after = queue(second, other)
        taken = {text for text, _ in [*seen, *queue(first, link)[:HELD]]}
        orders = [[text for text, _ in one if text not in taken] for one in (before, after)]
        assert sorted(orders[0]) == sorted(orders[1])
        assert orders[0] != orders[1]
        page.sign_out()
        page.sign_in(names[1])
        page.open(other)
        assert (page.text(), page.selected()) == after[0]


def follow_the_guidelines(page: ArgillaPage, dataset: str, name: str, link: str) -> ArgillaPage:
    """Find one's own link as an annotator would who was told nothing, and go there."""
    wait_for(lambda: link in (api(page.server, "GET", f"/datasets/{dataset}")["guidelines"] or ""))
    page.open(f"{page.server.url}/dataset/{dataset}/annotation-mode")
    page.page.locator(".panel__header", has_text="guidelines").first.click()
    with page.page.expect_popup() as opened:
        page.page.get_by_role("link", name=name, exact=True).click()
    sorted_page = ArgillaPage(opened.value, page.server)
    opened.value.wait_for_url(re.compile(re.escape(link.partition("?")[2])))
    sorted_page.come_to(lambda: sorted_page.text() is not None)
    return sorted_page
