"""What Label Studio's API lets in of odd answers and tasks: nothing stops, and every good one beside them arrives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.loop.record_import import ImportPlan, RecordImport
from nextlabel.backend.loop.sync import Sync
from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.store import Store
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.label_studio.payloads import write_result
from nextlabel.connectors.records import Labeling, LabelKind, Record, Span, Value
from tests import size
from tests.odd import changed, oddities

Make = Callable[..., LabelStudioConnector]
RUNS = size.count(24, long=1000, name="NEXTLABEL_RUNS")
"""Odd tasks with answers on each of two kinds of question."""
VALUES: dict[LabelKind, Value] = {LabelKind.SINGLE: ("sport",), LabelKind.SPAN: (Span(0, 4, "sport"),)}


def odd_tasks(task: dict[str, Any]) -> list[dict[str, Any]]:
    """RUNS of them, spread over all there are; the first two are what Label Studio takes, and can't show again."""
    halves = [changed(task, place, "\ud83d") for place in (("data", "text"), ("annotations", 0, "result", 0, "type"))]
    every = list(oddities(task, max(2000, RUNS)))
    return [*halves, *every[:: max(1, len(every) // RUNS)][:RUNS]]


@pytest.mark.parametrize("kind", list(VALUES))
def test_odd_tasks_and_answers_cost_no_neighbour(
    kind: LabelKind, label_studio: LabelStudioServer, label_studio_project: Make, tmp_path: Path
) -> None:
    """Read as records, in the poll, in the comparison, and after a webhook."""
    connector = label_studio_project(Labeling(kind, ("sport", "politics")))
    result = write_result(connector.form, VALUES[kind])
    answered = {"annotations": [{"result": result, "was_cancelled": False}]}
    odd = odd_tasks({"data": {"text": "Anna at Acme"}, "meta": {"from": "mail"}, **answered})
    good = [{"data": {"text": f"Anna at Acme {number}"}, **answered} for number in range(len(odd))]
    headers = {"Authorization": f"Token {label_studio.token}", "Content-Type": "application/json"}
    path, ids, taken = f"/api/projects/{connector.project.id}/import?return_task_ids=true", [], 0
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60, trust_env=False) as client:
        for number, one in enumerate(odd):
            taken += client.post(path, content=json.dumps([one])).is_success
            if number % 10 == 0:
                ids += client.post(path, json=good[number : number + 10]).raise_for_status().json()["task_ids"]
    print(f"Label Studio took {taken} of {len(odd)} odd tasks with answers ({kind})")
    with Store.open(tmp_path / "store.sqlite") as store:
        intake = Intake(store, connector, on_news=lambda _: None, on_gone=lambda _: None, wake=lambda: None)
        records = RecordImport(store, connector, ImportPlan(), changed=lambda _: None, lost=intake.lose_records)
        Sync(store, connector, intake, records, noticed=lambda _: None).pull()
        assert len(store.get_remote(list(map(str, ids)))) == len(good) == len(ids)
        answers = {one.remote_id: one for one in store.answers()}
        assert {answers[str(task)].value for task in ids} == {VALUES[kind]}
        told = {one.kind for one in store.notices()}
        assert {"annotation", "record"} <= told
        assert any(f" by {label_studio.user} " in one.message for one in store.notices(kind="annotation"))
        compared = {one.id for page in connector.annotated() for one in page.annotations}
        assert compared == {one.id for one in answers.values()}
    asked = connector.annotations({one.id: one.remote_id for one in list(answers.values())[:10]})
    assert list(asked.values()) == list(answers.values())[:10]


def test_an_answer_that_label_studio_can_not_show_is_told_and_not_taken_for_deleted(
    label_studio: LabelStudioServer, label_studio_project: Make
) -> None:
    """What was marked of a text often ends within an emoji: the page cuts by halves of it."""
    connector = label_studio_project()
    [task] = connector.push([Record("u1", {"text": "\U0001f600"})]).values()
    result = [{**write_result(connector.form, ("sport",))[0], "meta": {"text": ["\ud83d"]}}]
    body = json.dumps({"result": result})
    headers = {"Content-Type": "application/json", "Authorization": f"Token {label_studio.token}"}
    address = f"{label_studio.url}/api/tasks/{task}/annotations/"
    httpx.post(address, content=body, headers=headers, trust_env=False)  # 500: it is stored all the same
    changes = connector.changes(None)
    assert [one.remote_id for one in changes.unreadable] == [task]
    assert task not in changes.complete
