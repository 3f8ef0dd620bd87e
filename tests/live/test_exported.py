"""What is exported for a platform can be imported there, whatever is asked: on real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.stack import ArgillaServer, LabelStudioServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import Connector
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import Finished, Given, Labeling, LabelKind, Record, Span, Suggestion, Value
from tests.live.argilla_calls import argilla_sdk
from tests.live.label_studio_calls import api

TEXT = "Río 😀 Anna sank"
VALUES: dict[LabelKind, tuple[Value, ...]] = {
    LabelKind.SINGLE: (("a",), ("b",)),
    LabelKind.MULTI: (("a", "b"), ("b",)),
    LabelKind.SPAN: ((Span(0, 3, "a"), Span(6, 10, "b")), (Span(6, 10, "a"),)),
}
KINDS = pytest.mark.parametrize("kind", list(VALUES))


def made(kind: LabelKind, people: list[tuple[str, str]]) -> tuple[Labeling, list[Finished]]:
    """A record that two ``people`` (id and name) answered, one with what was agreed on, and one that is predicted."""
    one, other = VALUES[kind]
    suggestion = Suggestion(other, 0.75, "probe-7")
    given = tuple(Given(*who, value) for who, value in zip(people, (one, other), strict=True))
    return Labeling(kind, ("a", "b")), [
        Finished(Record("u1", {"text": TEXT}, {"row": 1}), one, False, given, suggestion),
        Finished(Record("u2", {"text": TEXT + "."}), one, True),
        Finished(Record("u3", {"text": TEXT + "!"}), None, False, (), suggestion),
    ]


def answers(connector: Connector) -> dict[str, dict[str, Value]]:
    """uid -> annotator's name -> answer, as they are read of the platform."""
    names = connector.annotator_names()
    uids = {one.remote_id: one.record.uid for one in connector.records()}
    found: dict[str, dict[str, Value]] = {}
    for changes in connector.annotated():
        for one in changes.annotations:
            found.setdefault(uids[one.remote_id], {})[names.get(one.annotator, "")] = one.value
    return found


@KINDS
def test_label_studio(
    label_studio: LabelStudioServer,
    annotators: list[str],
    label_studio_project: Callable[..., LabelStudioConnector],
    kind: LabelKind,
) -> None:
    labeling, records = made(kind, [("1", "annotator0@example.com"), ("2", "annotator1@example.com")])
    connector = label_studio_project(labeling)
    tasks = [PLATFORMS["label-studio"].exported(labeling, one, connector.config) for one in records]
    api(label_studio, "POST", f"/api/projects/{connector.project.id}/import", json=tasks)
    found = answers(connector)
    one, other = VALUES[kind]
    assert found["u1"] == {"annotator0@example.com": one, "annotator1@example.com": other}
    assert list(found["u2"].values()) == [one], "what was agreed on is whose import it was"
    assert found.keys() == {"u1", "u2"}
    assert {record.record.uid: record.record.metadata for record in connector.records()}["u1"] == {"row": 1}
    predicted = api(label_studio, "GET", "/api/predictions", params={"project": connector.project.id}).json()
    assert {one["model_version"] for one in predicted} == {"probe-7"}
    assert len(predicted) == 2


@KINDS
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_argilla(
    argilla: ArgillaServer,
    argilla_users: list[str],
    argilla_dataset: Callable[..., ArgillaConnector],
    tmp_path: Path,
    kind: LabelKind,
) -> None:
    labeling = Labeling(kind, ("a", "b"))
    connector = argilla_dataset(labeling)
    ids = {name: number for number, name in connector.annotator_names().items()}
    _, records = made(kind, [(ids[name], name) for name in ("annotator0", "annotator1")])
    platform, path = PLATFORMS["argilla"], tmp_path / "records.json"
    path.write_text(json.dumps([platform.exported(labeling, one, has_none=connector.has_none) for one in records]))
    with argilla_sdk(argilla) as client:
        dataset = client.datasets(connector.project.title)
        assert dataset is not None
        dataset.records.from_json(path)
        one, other = VALUES[kind]
        found = answers(connector)
        assert found == {"u1": {"annotator0": one, "annotator1": other}}
        listed = {record.id: record for record in dataset.records(with_suggestions=True)}
        agents = {uid: [one.agent for one in record.suggestions] for uid, record in listed.items()}
    assert agents == {"u1": ["nextlabel/probe-7"], "u2": ["consensus"], "u3": ["nextlabel/probe-7"]}
