"""What others do to a dataset that we work in, and what we leave of theirs: on a real Argilla."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.records import QueueEntry
from tests.live.argilla_calls import SPORT, Api, Json, Make, push

Crew = Callable[[ArgillaConnector], list[ArgillaAnnotator]]


def entries(ids: Sequence[str]) -> list[QueueEntry]:
    return [QueueEntry(one, rank, SPORT) for rank, one in enumerate(ids)]


def rows(connector: ArgillaConnector) -> dict[str, Json]:
    return {row["id"]: row for row in connector._rows.walk(("responses", "suggestions"))}


def queues(connector: ArgillaConnector, crew: Sequence[ArgillaAnnotator]) -> list[list[str]]:
    """The records in the first two people's queues, as their links order them."""
    links = [connector.links()[f"annotator{number}"] for number in range(2)]
    shown = [person.pending(link, limit=100)[0] for person, link in zip(crew, links, strict=False)]
    return [[record["id"] for record in one] for one in shown]


def write(api: Api, connector: ArgillaConnector, *items: Json) -> None:
    api("PUT", f"/datasets/{connector.project.id}/records/bulk", {"items": list(items)})


def add_property(api: Api, connector: ArgillaConnector, name: str, **settings: Any) -> None:
    body = {"name": name, "title": name, "settings": settings}
    api("POST", f"/datasets/{connector.project.id}/metadata-properties", body)


def lanes(api: Api, connector: ArgillaConnector) -> dict[str, str]:
    """Name -> id of the metadata properties that are people's queues."""
    found = api("GET", f"/me/datasets/{connector.project.id}/metadata-properties")["items"]
    return {one["name"]: one["id"] for one in found if one["name"].startswith("queue_")}


def test_a_record_with_metadata_out_of_date_holds_up_nobody(argilla_dataset: Make, api: Api, crew: Crew) -> None:
    connector = argilla_dataset()
    ids = push(connector, 30)
    bad = ids[7]
    write(api, connector, {"id": bad, "metadata": {"split": "dev"}})
    add_property(api, connector, "split", type="terms", values=["train", "test"])
    connector.publish("nl-stale-1", entries(ids))
    assert connector.refused().keys() == {bad}
    assert "'dev' is not" in connector.refused()[bad]
    people = crew(connector)
    assert [set(order[:29]) for order in queues(connector, people)] == [set(ids) - {bad}] * 2
    before = rows(connector)
    connector.publish("nl-stale-2", entries(ids))
    assert rows(connector) == before, "it is not tried with every queue"
    write(api, connector, {"id": bad, "metadata": {"split": "test"}})
    connector.publish("nl-stale-3", entries(ids))
    assert connector.refused() == {}
    assert rows(connector)[bad]["suggestions"]


@pytest.mark.parametrize("running", [True, False])
def test_a_lane_that_somebody_deleted_is_made_anew(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, crew: Crew, running: bool
) -> None:
    connector = argilla_dataset()
    ids = push(connector, 20)
    connector.publish("nl-lane-1", entries(ids))
    people = crew(connector)
    before = queues(connector, people)
    api("PATCH", f"/datasets/{connector.project.id}", {"allow_extra_metadata": False})
    first = connector.links()["annotator0"].rpartition("metadata.")[2].removesuffix(".desc")
    api("DELETE", f"/metadata-properties/{lanes(api, connector)[first]}")
    if running:
        assert not connector._queue.look_after(connector.form)
        assert queues(connector, people) == before
    with closing(ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)) as heir:
        heir.publish("nl-lane-2", entries(ids))
        assert heir.refused() == {}
        assert queues(heir, people) == before


def test_places_in_the_lane_of_somebody_who_left_go(argilla_dataset: Make, api: Api) -> None:
    """Where a dataset takes no metadata but its own, they would keep the record from being written."""
    connector = argilla_dataset()
    ids = push(connector, 5)
    write(api, connector, {"id": ids[0], "metadata": {"queue_0123abcd": 7, "note": "theirs"}})
    connector.publish("nl-left-1", entries(ids))
    metadata = rows(connector)[ids[0]]["metadata"]
    assert metadata.keys() == {"note", *lanes(api, connector)}
