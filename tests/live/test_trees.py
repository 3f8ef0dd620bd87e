"""Labels in a tree on real servers: nested Choices and a Taxonomy on Label Studio, labels side by side on Argilla."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextlabel.backend.data.given import GivenRow, Wanted, open_given
from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.annotators import ArgillaAnnotator
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import GivenAnswer, Labeling, LabelKind, QueueEntry, Record, Suggestion, Value
from tests.live.chrome import PASSWORD, in_chromium, window
from tests.live.label_studio_calls import api
from tests.live.test_browser import Page

LEAF, OTHER, PLAIN = "sexist > threats > harm", "sexist > threats > incitement", "not sexist"
LABELS = (LEAF, OTHER, "sexist > slurs", PLAIN)
ASKED = Labeling(LabelKind.SINGLE, LABELS, descriptions={LEAF: "says that somebody will be hurt"})
SHOWN = (
    Suggestion((LEAF,), 0.7, "probe-1"),
    Suggestion(("sexist > threats",), 0.8, "probe-1", leaf=(OTHER, 0.4)),
)
RECORDS = [Record(f"u{number}", {"text": f"text {number}"}) for number in range(3)]


def queue(connector: Any) -> list[str]:
    ids = list(connector.push(RECORDS).values())
    connector.publish("nl-trees-1", [QueueEntry(ids[rank], rank, one) for rank, one in enumerate(SHOWN)])
    return ids


def exported(server: LabelStudioServer, connector: LabelStudioConnector, folder: Path) -> list[Value]:
    """What ``nextlabel import`` reads in Label Studio's own exports, the same in each."""
    found = []
    for kind in ("JSON", "JSON_MIN", "CSV"):
        answer = api(server, "GET", f"/api/projects/{connector.project.id}/export", params={"exportType": kind})
        (file := folder / f"{kind}.{'csv' if kind == 'CSV' else 'json'}").write_bytes(answer.content)
        wanted = Wanted("label", connector.labeling.labels, {"text": "text"}, label="label" if kind == "CSV" else None)
        rows = [row for row in open_given(str(file), wanted).rows if isinstance(row, GivenRow)]
        found.append([row.value for row in sorted(rows, key=lambda row: str(row.fields["text"]))])
    assert found == [found[0]] * 3
    return found[0]


def test_label_studio_shows_leaf_or_parent_and_takes_both(
    label_studio: LabelStudioServer,
    annotators: list[str],
    label_studio_project: Callable[..., LabelStudioConnector],
    tmp_path: Path,
):
    more = tuple(f"other > {number}" for number in range(20))  # more than is shown at once
    asked = replace(ASKED, labels=LABELS + more)
    connector = label_studio_project(asked)
    assert connector.labeling == asked
    ids = queue(connector)
    shown = [api(label_studio, "GET", f"/api/tasks/{one}/").json()["predictions"] for one in ids[:2]]
    assert [one["result"][0]["value"]["taxonomy"] for [one] in shown] == [
        [["sexist", "threats", "harm"]],
        [["sexist", "threats"]],
    ]
    with Annotator(label_studio.url, annotators[0], connector.project.id) as person:
        for task, path in zip(ids, (["sexist", "slurs"], ["sexist"]), strict=False):
            region = {"from_name": "label", "to_name": "text", "type": "taxonomy", "value": {"taxonomy": [path]}}
            person.submit(int(task), [region])
    found = connector.changes(None)
    assert {one.remote_id: one.value for one in found.annotations} == {ids[0]: ("sexist > slurs",), ids[1]: ("sexist",)}
    assert exported(label_studio, connector, tmp_path) == [("sexist > slurs",), ("sexist",)]
    who = found.annotations[0].annotator
    connector.give([GivenAnswer("theirs", ids[2], who, (OTHER,))], lambda changes: None)
    again = {one.remote_id: one.value for one in connector.changes(None).annotations}
    assert again[ids[2]] == (OTHER,)


@in_chromium
def test_label_studio_shows_a_small_tree_and_a_key_corrects(
    label_studio: LabelStudioServer, label_studio_project: Callable[..., LabelStudioConnector], tmp_path: Path
):
    connector = label_studio_project(ASKED)
    ids = queue(connector)
    label_studio.add_user(email := f"{secrets.token_hex(4)}@example.com", PASSWORD)
    with window() as page:
        person = Page(page, label_studio)
        person.log_in(email)
        person.label_all_tasks(connector.project.id)
        ticked = [["harm"], ["threats", "harm", "incitement"], []]  # a leaf, a parent with all below it, nothing
        for number, (key, before) in enumerate(zip(("5", "", "2"), ticked, strict=True)):
            page.get_by_text(f"text {number}", exact=True).wait_for()
            page.wait_for_selector("input[type=checkbox]", state="attached")
            names = page.evaluate(
                "() => [...document.querySelectorAll('input[type=checkbox]:checked')].map(e => e.name)"
            )
            assert names == before
            if key:
                page.keyboard.press(key)
            with page.expect_response(lambda reply: "/annotations" in reply.url and reply.request.method == "POST"):
                page.keyboard.press("Control+Enter")
    found = {one.remote_id: one.value for one in connector.changes(None).annotations}
    assert [found[one] for one in ids] == [("sexist > slurs",), ("sexist > threats",), ("sexist > threats",)]
    assert exported(label_studio, connector, tmp_path) == [("sexist > slurs",), *[("sexist > threats",)] * 2]


def test_argilla_lists_the_labels_side_by_side(argilla: Any, argilla_users: list[str], argilla_dataset: Any):
    connector = argilla_dataset(ASKED)
    assert connector.labeling == ASKED
    ids = queue(connector)
    with ArgillaAnnotator(argilla.url, argilla_users[0], connector.project.id) as person:
        listed = person.ask("GET", f"/datasets/{connector.project.id}/questions")["items"]
        assert [option["value"] for option in listed[0]["settings"]["options"]] == list(LABELS)
        person.submit(ids[0], OTHER)
    found = connector._rows.fetch(ids)
    shown = [found[one]["suggestions"] for one in ids]
    assert [[(one["value"], one["score"]) for one in some] for some in shown] == [[(LEAF, 0.7)], [(OTHER, 0.4)], []]
    assert [one.value for one in connector.changes(None).annotations] == [(OTHER,)]
