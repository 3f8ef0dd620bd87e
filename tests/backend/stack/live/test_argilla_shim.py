"""What osmem-server lacks and the shim adds, through Argilla's API."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from tests.backend.stack.conftest import Dataset, call

Make = Callable[..., Dataset]


def search(dataset: Dataset, **body: Any) -> list[str]:
    found = call(dataset.server, "POST", f"datasets/{dataset.id}/records/search", body)
    return [item["record"]["external_id"] for item in found["items"]]


def test_a_deleted_suggestion_is_no_longer_found(argilla: ArgillaServer, plain_dataset: Make):
    dataset = plain_dataset(argilla, 3)
    question = call(argilla, "GET", f"datasets/{dataset.id}/questions")["items"][0]["id"]
    made = {
        name: call(
            argilla,
            "PUT",
            f"records/{dataset.ids[name]}/suggestions",
            {"question_id": question, "type": "model", "value": "sport", "score": 0.9, "agent": "m"},
        )["id"]
        for name in ("r0", "r1")
    }
    scope = {"entity": "suggestion", "question": "topic", "property": "value"}
    wanted = {"and": [{"type": "terms", "scope": scope, "values": ["sport"]}]}
    assert sorted(search(dataset, filters=wanted)) == ["r0", "r1"]
    call(argilla, "DELETE", f"records/{dataset.ids['r0']}/suggestions?ids={made['r0']}")
    assert search(dataset, filters=wanted) == ["r1"]


def test_responses_of_many_people_at_once_are_all_in_the_index(
    argilla: ArgillaServer, argilla_users: list[str], plain_dataset: Make
):
    dataset = plain_dataset(argilla, 1, min_submitted=5)
    people = [ArgillaAnnotator(argilla.url, key, dataset.id) for key in argilla_users]
    with ThreadPoolExecutor(len(people)) as pool:
        given = list(pool.map(lambda person: person.submit(dataset.ids["r0"], "sport"), people))
    assert [person.pending()[1] for person in people] == [0] * len(people)
    people[0].delete(given[0])
    assert [person.pending()[1] for person in people] == [1] + [0] * (len(people) - 1)
    for person in people:
        person.close()


def test_similar_records_are_found_by_cosine(argilla: ArgillaServer, plain_dataset: Make):
    dataset = plain_dataset(argilla, 4)
    about = {"name": "meaning", "title": "Meaning", "dimensions": 2}
    vectors = call(argilla, "POST", f"datasets/{dataset.id}/vectors-settings", about)
    assert vectors["dimensions"] == 2
    points = {"r0": [1.0, 0.0], "r1": [0.0, 2.0], "r2": [3.0, 1.0]}
    items = [{"id": dataset.ids[name], "vectors": {"meaning": point}} for name, point in points.items()]
    call(argilla, "PUT", f"datasets/{dataset.id}/records/bulk", {"items": items})
    near = {"vector": {"name": "meaning", "value": [1.0, 0.1], "order": "most_similar"}}
    assert search(dataset, query=near) == ["r0", "r2", "r1"]
