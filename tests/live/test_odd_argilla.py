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
from tests.live.argilla_calls import Make, until
from tests.odd import oddities

RUNS = size.count(24, long=1000, name="NEXTLABEL_RUNS")
"""Odd records with responses on each of two kinds of question."""
ANSWERS: dict[LabelKind, tuple[Any, Value]] = {
    LabelKind.SINGLE: ("sport", ("sport",)),
    LabelKind.SPAN: ([{"start": 0, "end": 4, "label": "sport"}], (Span(0, 4, "sport"),)),
}


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
    odd = list(
        oddities({"fields": {"text": "Anna at Acme"}, "metadata": {"from": "mail"}, "responses": [response]}, 2000)
    )
    odd = odd[:: max(1, len(odd) // RUNS)][:RUNS]
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

        assert {until(answers)[one] for one in ids} == {value}
        assert len(store.get_remote(ids)) == len(good) == len(ids)
        compared = {one.remote_id: one for page in connector.annotated() for one in page.annotations}
        assert set(ids) <= compared.keys()
    asked = connector.annotations({compared[one].id: one for one in ids[:10]})
    assert list(asked.values()) == [compared[one] for one in ids[:10]]
