"""What Argilla's API lets in of odd records and responses: nothing stops, and every good one beside them arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.loop.record_import import ImportPlan, RecordImport
from nextlabel.backend.loop.sync import Sync
from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Labeling, LabelKind, Span, Value
from tests import size
from tests.live.argilla_calls import Make, push
from tests.odd import changed, oddities
from tests.waiting import wait_for

RUNS = size.count(24, long=1000, name="NEXTLABEL_RUNS")
"""Odd records with responses on each of two kinds of question."""
HALF = "\ud83d"
"""What is left of an emoji that was cut in two."""
ANSWERS: dict[LabelKind, tuple[Any, Value]] = {
    LabelKind.SINGLE: ("sport", ("sport",)),
    LabelKind.SPAN: ([{"start": 0, "end": 4, "label": "sport"}], (Span(0, 4, "sport"),)),
}


def odd_records(record: dict[str, Any]) -> list[dict[str, Any]]:
    """RUNS of them, spread over all there are; the first and the last are what Argilla takes, and can't show again."""
    half, every = changed(record, ("metadata", "from"), HALF), list(oddities(record, max(2000, RUNS)))
    return [half, *every[:: max(1, len(every) // RUNS)][:RUNS], half]


@pytest.fixture
def client(argilla: ArgillaServer) -> Iterator[httpx.Client]:
    headers = {"X-Argilla-Api-Key": argilla.token, "Content-Type": "application/json", "Connection": "close"}
    with httpx.Client(base_url=f"{argilla.url}/api/v1", headers=headers, timeout=60, trust_env=False) as calls:
        yield calls


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_odd_records_and_responses_cost_no_neighbour(
    kind: LabelKind, client: httpx.Client, argilla_dataset: Make, tmp_path: Path
) -> None:
    """Read as records, in the poll, in the comparison, and after a webhook."""
    connector = argilla_dataset(Labeling(kind, ("sport", "politics")))
    answer, value = ANSWERS[kind]
    owner = client.get("/me").raise_for_status().json()["id"]
    response = {"values": {"label": {"value": answer}}, "status": "submitted", "user_id": owner}
    odd = odd_records({"fields": {"text": "Anna at Acme"}, "metadata": {"from": "mail"}, "responses": [response]})
    good = [{"fields": {"text": f"Anna at Acme {number}"}, "responses": [response]} for number in range(len(odd))]
    path, ids, taken = f"/datasets/{connector.project.id}/records/bulk", [], 0
    for number, one in enumerate(odd):
        taken += client.post(path, content=json.dumps({"items": [one]})).is_success
        if number % 10 == 0:
            made = client.post(path, json={"items": good[number : number + 10]}).raise_for_status().json()["items"]
            ids += [str(item["id"]) for item in made]
    print(f"Argilla took {taken} of {len(odd)} odd records with responses ({kind})")
    with Store.open(tmp_path / "store.sqlite") as store:
        intake = Intake(store, connector, on_news=lambda _: None, on_gone=lambda _: None, wake=lambda: None)
        records = RecordImport(store, connector, ImportPlan(), changed=lambda _: None, lost=intake.lose_records)
        sync = Sync(store, connector, intake, records, noticed=lambda _: None)

        def answers() -> dict[str, Value]:
            sync.pull()
            found = {one.remote_id: one.value for one in store.answers()}
            return found if set(ids) <= found.keys() else {}

        assert {wait_for(answers)[one] for one in ids} == {value}
        assert len(store.get_remote(ids)) == len(good) == len(ids)
        assert "unread record" in store.notice_counts()
        compared = {one.remote_id: one for page in connector.annotated() for one in page.annotations}
        assert set(ids) <= compared.keys()
    asked = connector.annotations({compared[one].id: one for one in ids[:10]})
    assert list(asked.values()) == [compared[one] for one in ids[:10]]


def test_a_record_that_argilla_can_not_show_costs_no_other_and_is_tried_again(
    client: httpx.Client, argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextlabel.connectors.argilla.changes.ANYWAY_S", 0.0)
    monkeypatch.setattr("nextlabel.connectors.argilla.changes.QUICK_S", 60.0)
    connector = argilla_dataset()
    ids = push(connector, 6)
    answer = {"values": {"label": {"value": "sport"}}, "status": "submitted"}
    given = {client.post(f"/records/{one}/responses", json=answer).raise_for_status().json()["id"]: one for one in ids}
    wait_for(lambda: connector._rows.answered() == len(ids))
    cursor = connector.changes(None).cursor

    def write(origin: str) -> int:
        items = [{"id": one, "metadata": {"from": origin}} for one in hidden]
        path = f"/datasets/{connector.project.id}/records/bulk"
        return client.put(path, content=json.dumps({"items": items})).status_code

    hidden, shown = [ids[0], ids[2], ids[5]], [ids[1], ids[3], ids[4]]
    assert write(HALF) == 422, "it is stored all the same"
    found = connector.changes(cursor)
    assert {one.remote_id for one in found.unreadable} == set(hidden)
    assert found.complete == {}
    assert [one.remote_id for one in connector.records(newest_first=True)] == shown[::-1]
    assert [one.remote_id for one in connector.records()] == shown
    assert [name.split(",")[0] for name in connector.unread()] == ["number 1", "number 3", "number 6"]
    assert connector.missing(ids) == ()
    assert {one.remote_id for page in connector.annotated() for one in page.annotations} == set(shown)
    asked = connector.annotations(dict(given))
    assert {one.remote_id for one in asked.values() if one} == set(shown)
    assert asked.keys() == {one for one in given if given[one] in shown}, "the others may be there"
    assert write("mail") == 200
    assert [one.remote_id for one in connector.read_again()] == hidden
    assert connector.unread() == {}
    again = connector.changes(found.cursor)
    assert {one.remote_id for one in again.annotations} == set(hidden)
