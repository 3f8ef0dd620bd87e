"""The paging that we hold to be Argilla's, beside the stock page in a real browser: the same steps, side by side."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer, Page
from nextlabel.backend.stack.annotators import Json, sort_orders
from tests.backend.stack.conftest import Dataset
from tests.live.chrome import NEEDS_CHROMIUM, PASSWORD, ArgillaPage, window

pytestmark = NEEDS_CHROMIUM


class Noting(ArgillaAnnotator):
    """Somebody whose searches are noted: offset, limit and sort of each."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.asked: list[tuple[int, int, Any]] = []

    def pending(self, sort: str = "", offset: int = 0, limit: int = 10) -> tuple[list[Json], int]:
        self.asked.append((offset, limit, sort_orders(sort)))
        return super().pending(sort, offset, limit)


class Both:
    """The page in the browser and ours, for two people with the same queue; each step is made in both."""

    def __init__(self, browser: ArgillaPage, ours: Page, person: Noting) -> None:
        self.browser, self.ours, self.person = browser, ours, person
        self.shown: list[str | None] = []
        self.note()

    def note(self) -> None:
        current = self.ours.current["fields"]["text"] if self.ours.current else None
        self.browser.come_to(lambda: (self.browser.text(), self.browser.searches) == (current, self.person.asked))
        shown = self.browser.text()
        steps = f"after {self.shown}"
        assert (shown, self.browser.searches) == (current, self.person.asked), steps
        self.shown.append(shown)
        self.browser.searches.clear()
        self.person.asked.clear()

    def step(self, key: str, ours: Callable[[], object], *, stores: bool = True) -> None:
        if stores:
            self.browser.choose("sport")
        self.browser.press(key, stores=stores)
        ours()
        self.note()

    def submit(self, count: int) -> None:
        for _ in range(count):
            self.step("Enter", lambda: self.ours.submit("sport"))


def test_the_page_asks_for_and_shows_what_ours_does(
    argilla: ArgillaServer, plain_dataset: Callable[..., Dataset], visit: Callable[..., str]
) -> None:
    names = [f"paging-{secrets.token_hex(4)}" for _ in range(2)]
    _, key = (visit(name, PASSWORD) for name in names)
    dataset = plain_dataset(argilla, 80, min_submitted=3)  # what both answered still waits
    person = Noting(argilla.url, key, dataset.id)
    with window() as page, person:
        browser = ArgillaPage(page, argilla)
        browser.sign_in(names[0])
        browser.open(dataset.link)
        both = Both(browser, Page(person, dataset.link), person)

        both.submit(2)
        # Behind what the page holds, as our queue does it: sixteen, the one shown among them.
        dataset.prioritise({f"r{n}": 982.9 - n / 1000 for n in range(40, 50)})
        both.submit(12)
        assert both.shown == [f"text {n}" for n in range(15)]
        both.submit(5)
        assert both.shown[15:] == ["text 15", "text 16", "text 17", "text 40", "text 41"]

        both.step("ArrowRight", both.ours.forward, stores=False)
        both.step("Backspace", both.ours.discard)
        both.step("Control+s", lambda: both.ours.draft("sport"))
        assert both.shown[-1] == both.shown[-2]
        both.submit(2)

        dataset.prioritise({f"r{n}": 5000.0 - n for n in range(60, 70)})  # above what the page holds
        while both.shown[-1] is not None:
            assert len(both.shown) < 60, "records that rose were to empty the page"
            both.submit(1)
        browser.open(dataset.link)
        both.ours.reload()
        both.note()
        assert both.shown[-1] == "text 60"
