"""The simulated annotator and the paging of Argilla's page, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer, Page
from nextlabel.backend.stack.annotators import sort_orders
from nextlabel.connectors.errors import PlatformError
from tests.backend.stack.conftest import Dataset

Make = Callable[..., Dataset]


@pytest.fixture
def people(argilla: ArgillaServer, argilla_users: list[str]) -> Iterator[Callable[[Dataset, int], ArgillaAnnotator]]:
    made = []

    def person(dataset: Dataset, number: int = 0) -> ArgillaAnnotator:
        made.append(ArgillaAnnotator(argilla.url, argilla_users[number], dataset.id))
        return made[-1]

    yield person
    for one in made:
        one.close()


def names(records: list[dict]) -> list[str]:
    return [record["external_id"] for record in records]


def show(page: Page, count: int) -> list[str]:
    """Answer ``count`` records; what was shown."""
    shown = []
    for _ in range(count):
        assert page.current is not None
        shown.append(page.current["external_id"])
        page.submit("sport")
    return shown


def test_each_call_does_what_its_button_does(argilla: ArgillaServer, plain_dataset: Make, people):
    dataset = plain_dataset(argilla, 6)
    ann = people(dataset)
    records, total = ann.pending(dataset.link, limit=4)
    assert (names(records), total) == (["r0", "r1", "r2", "r3"], 6)
    submitted, discarded = ann.submit(records[0], "sport"), ann.discard(records[1])
    draft, gone = ann.draft(records[2], {"topic": "sport"}), ann.submit(records[3], "sport")
    assert ann.update(submitted, "politics").id == submitted.id
    records[2]["responses"] = [draft.body]
    finished = ann.submit(records[2], "politics")
    assert finished.id == draft.id, "the draft itself must have been submitted"
    ann.delete(gone)

    stored = {
        name: [(one["status"], (one["values"] or {}).get("topic", {}).get("value")) for one in record["responses"]]
        for name, record in dataset.records().items()
    }
    assert stored == {
        "r0": [("submitted", "politics")],
        "r1": [("discarded", None)],
        "r2": [("submitted", "politics")],
        "r3": [],
        "r4": [],
        "r5": [],
    }
    assert discarded.status == "discarded"
    following = ann.next(dataset.link)
    assert following is not None
    assert following["external_id"] == "r3"


def test_a_refusal_is_an_error(argilla: ArgillaServer, plain_dataset: Make, people):
    dataset = plain_dataset(argilla, 1)
    with pytest.raises(PlatformError, match="422"):
        people(dataset).submit(dataset.ids["r0"], "no such label")


def test_a_page_shows_the_whole_queue_in_order(argilla: ArgillaServer, plain_dataset: Make, people):
    dataset = plain_dataset(argilla, 37)
    page = Page(people(dataset), dataset.link)
    assert show(page, 37) == [f"r{n}" for n in range(37)]
    assert page.current is None
    assert page.reload() is None
    with pytest.raises(LookupError):
        page.submit("sport")


def test_without_a_link_the_order_is_argillas_own_and_differs_by_person(
    argilla: ArgillaServer, plain_dataset: Make, people
):
    dataset = plain_dataset(argilla, 40, min_submitted=2)
    shown = [show(Page(people(dataset, number)), 15) for number in (0, 1)]
    assert shown[0] != shown[1]
    assert shown[0] != [f"r{n}" for n in range(15)]


def test_records_that_rise_above_what_the_page_holds_empty_it(argilla: ArgillaServer, plain_dataset: Make, people):
    """As seen in the real page: the fetch that it makes at its fifth record gives it this one again, as the 15th."""
    dataset = plain_dataset(argilla, 60)
    page = Page(people(dataset), dataset.link)
    dataset.prioritise({f"r{n}": 5000.0 - n for n in range(40, 50)})
    assert show(page, 4) == ["r0", "r1", "r2", "r3"]
    assert page.current is None
    assert len(page.held) == 10
    reloaded = page.reload()
    assert reloaded is not None
    assert reloaded["external_id"] == "r40"


def test_what_sinks_below_the_page_is_shown_and_what_rises_into_its_place_is_passed_over(
    argilla: ArgillaServer, plain_dataset: Make, people
):
    dataset = plain_dataset(argilla, 40)
    page = Page(people(dataset), dataset.link)
    dataset.prioritise({f"r{n}": -1.0 - n for n in range(5, 10)})
    assert show(page, 15) == [f"r{n}" for n in (*range(10), *range(15, 20))]


def test_a_sticky_head_passes_over_nothing(argilla: ArgillaServer, plain_dataset: Make, people):
    dataset = plain_dataset(argilla, 60)
    page = Page(people(dataset), dataset.link)
    show(page, 3)
    kept = [dataset.records()[f"r{n}"]["id"] for n in (3, *range(4, 10))]
    assert page.held[:6] == kept[1:], "r3 is shown, six of the first ten are ahead"
    dataset.prioritise({f"r{n}": 9000.0 - n for n in range(3, 13)} | {f"r{n}": 5000.0 - n for n in range(40, 50)})
    expected = [*range(3, 13), *range(40, 50), *range(13, 20)]
    assert show(page, len(expected)) == [f"r{n}" for n in expected]


def test_a_draft_stays_on_the_page_and_a_step_forward_leaves_no_answer(
    argilla: ArgillaServer, plain_dataset: Make, people
):
    dataset = plain_dataset(argilla, 15)
    page = Page(people(dataset), dataset.link)
    page.draft("sport")
    assert page.current is not None
    assert page.current["external_id"] == "r0"
    page.submit("politics")
    page.forward()
    page.discard()
    assert page.current["external_id"] == "r3"
    statuses = {name: [one["status"] for one in record["responses"]] for name, record in dataset.records().items()}
    assert [statuses[f"r{n}"] for n in range(4)] == [["submitted"], [], ["discarded"], []]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", []),
        ("http://here/dataset/1/annotation-mode", []),
        ("metadata.queue_1a.desc", [({"entity": "metadata", "metadata_property": "queue_1a"}, "desc")]),
        (
            "http://here/dataset/1/annotation-mode?sort=record.inserted_at.asc~suggestion.topic.score.desc",
            [
                ({"entity": "record", "property": "inserted_at"}, "asc"),
                ({"entity": "suggestion", "question": "topic", "property": "score"}, "desc"),
            ],
        ),
    ],
)
def test_the_sort_of_an_address(sort: str, expected: list):
    assert [(one["scope"], one["order"]) for one in sort_orders(sort)] == expected
