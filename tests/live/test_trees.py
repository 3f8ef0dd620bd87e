"""Labels in a tree on real servers: a Taxonomy on Label Studio, labels side by side on Argilla."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.backend.stack.annotators import ArgillaAnnotator
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import GivenAnswer, Labeling, LabelKind, QueueEntry, Record, Suggestion
from tests.live.label_studio_calls import api

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


def test_label_studio_shows_leaf_or_parent_and_takes_both(
    label_studio: LabelStudioServer,
    annotators: list[str],
    label_studio_project: Callable[..., LabelStudioConnector],
):
    connector = label_studio_project(ASKED)
    assert connector.labeling == ASKED
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
    who = found.annotations[0].annotator
    connector.give([GivenAnswer("theirs", ids[2], who, (OTHER,))], lambda changes: None)
    again = {one.remote_id: one.value for one in connector.changes(None).annotations}
    assert again[ids[2]] == (OTHER,)


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
