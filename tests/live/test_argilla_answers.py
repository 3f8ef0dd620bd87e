"""Answers out, and never one in anybody's name: on a real Argilla."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.stack.annotators import ArgillaAnnotator
from nextlabel.connectors.argilla import changes
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, QueueEntry
from tests.live.argilla_calls import SPORT, Api, Make, argilla_sdk, numbered, statuses, values


@pytest.fixture
def labelled(
    argilla_dataset: Make, crew: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[ArgillaConnector, list[str], list[ArgillaAnnotator]]:
    """A dataset with eight records, and its annotators. A slow reading is followed by the next at once."""
    monkeypatch.setattr(changes, "QUICK_S", math.inf)
    connector = argilla_dataset(overlap=2)
    return connector, list(connector.push(numbered(8)).values()), crew(connector)


Labelled = tuple[ArgillaConnector, list[str], list[ArgillaAnnotator]]


def test_a_poll_sees_answers_discards_drafts_and_changes_of_mind_of_several_people(labelled: Labelled):
    connector, ids, (ann, ben, *_) = labelled
    start = connector.changes(None)
    assert start.annotations == ()
    submitted, discarded = ann.submit(ids[0], "sport"), ann.discard(ids[1])
    draft, other = ann.draft(ids[2], "politics"), ben.submit(ids[0], "politics")
    first = connector.changes(start.cursor)
    assert statuses(first) == {
        submitted.id: AnnotationStatus.SUBMITTED,
        discarded.id: AnnotationStatus.SKIPPED,
        draft.id: AnnotationStatus.DRAFT,
        other.id: AnnotationStatus.SUBMITTED,
    }
    assert values(first)[submitted.id] == ("sport",)
    assert first.complete[ids[0]] == {submitted.id, other.id}
    assert len({one.annotator for one in first.annotations}) == 2
    idle = connector.changes(first.cursor)
    assert idle.annotations == (), "nothing is told twice"
    ann.update(submitted, "politics")
    ann.update(draft, "sport")
    second = connector.changes(idle.cursor)
    assert values(second) == {submitted.id: ("politics",), draft.id: ("sport",)}
    assert statuses(second)[draft.id] is AnnotationStatus.SUBMITTED
    assert [one.updated_at for one in second.annotations] > [one.updated_at for one in first.annotations][:1]


def test_deleted_answers_are_told_with_what_is_left(labelled: Labelled):
    connector, ids, (ann, ben, *_) = labelled
    mine, theirs, alone = ann.submit(ids[0], "sport"), ben.submit(ids[0], "sport"), ann.submit(ids[1], "sport")
    before = connector.changes(None)
    ann.delete(mine)
    ann.delete(alone)
    after = connector.changes(before.cursor)
    assert after.complete == {ids[0]: {theirs.id}, ids[1]: frozenset()}
    asked = connector.annotations({mine.id: ids[0], alone.id: ids[1], theirs.id: ids[0]})
    assert {number: one.value if isinstance(one, Annotation) else one for number, one in asked.items()} == {
        mine.id: None,
        alone.id: None,
        theirs.id: ("sport",),
    }


def test_an_answer_that_came_and_went_between_two_polls_is_told_if_it_was_looked_up(labelled: Labelled):
    connector, ids, (ann, *_) = labelled
    start = connector.changes(None)
    gone = ann.submit(ids[3], "sport")
    asked = connector.annotations({gone.id: ids[3]})
    assert [isinstance(one, Annotation) and one.value for one in asked.values()] == [("sport",)]
    ann.delete(gone)
    assert connector.changes(start.cursor).complete == {ids[3]: frozenset()}


def test_annotations_are_asked_for_by_themselves(labelled: Labelled, argilla_dataset: Make, crew: Any):
    """Those of other datasets are not ours to answer for, and what the search has lost the database may have."""
    connector, ids, (ann, ben, *_) = labelled
    mine, draft = ann.submit(ids[0], "sport"), ben.draft(ids[0], "politics")
    other = argilla_dataset()
    [foreign] = other.push(numbered(1)).values()
    theirs = crew(other)[0].submit(foreign, "sport")
    nowhere = "00000000-0000-4000-8000-000000000000"
    wanted = {mine.id: ids[0], draft.id: ids[0], "x": ids[1], "y": nowhere, theirs.id: foreign, "z": None, "w": "../me"}
    found = connector.annotations(wanted)
    assert found.pop("x") is None, "the record has no such response"
    assert (found.pop("y"), found.pop("w")) == (None, None), "there is no such record"
    assert {number: (one.value, one.status) for number, one in found.items() if isinstance(one, Annotation)} == {
        mine.id: (("sport",), AnnotationStatus.SUBMITTED),
        draft.id: (("politics",), AnnotationStatus.DRAFT),
    }
    assert set(found) == {mine.id, draft.id}, "of the others it can't be said"


def test_every_answer_is_read_page_by_page(labelled: Labelled, monkeypatch: pytest.MonkeyPatch):
    connector, ids, people = labelled
    monkeypatch.setattr(changes, "PAGE", 3)
    given = {person.submit(record, "sport").id for record in ids[:5] for person in people[:2]}
    given.add(people[2].draft(ids[7], "sport").id)
    pages = list(connector.annotated())
    assert {one.id for page in pages for one in page.annotations} == given
    assert {record for page in pages for record in page.complete} == {*ids[:5], ids[7]}
    assert len(pages) > 1


def test_what_was_told_but_did_not_arrive_is_told_again(labelled: Labelled):
    connector, ids, (ann, *_) = labelled
    start = connector.changes(None)
    given = ann.submit(ids[0], "sport")
    assert set(statuses(connector.changes(start.cursor))) == {given.id}
    assert set(statuses(connector.changes(start.cursor))) == {given.id}, "the cursor came back unmoved"


def test_a_new_process_finds_what_was_deleted_while_nobody_looked(argilla: ArgillaServer, labelled: Labelled):
    connector, ids, (ann, *_) = labelled
    given, kept = ann.submit(ids[0], "sport"), ann.submit(ids[1], "sport")
    cursor = connector.changes(None).cursor
    ann.delete(given)
    heir = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    found = heir.changes(cursor)
    heir.close()
    assert found.complete[ids[0]] == frozenset()
    assert found.complete[ids[1]] == {kept.id}
    assert set(found.complete) == set(ids)


def test_answers_that_an_owner_writes_in_bulk_are_found_though_nothing_tells_of_them(
    labelled: Labelled, api: Api, monkeypatch: pytest.MonkeyPatch
):
    connector, ids, (ann, *_) = labelled
    mine = ann.submit(ids[0], "sport")
    cursor = connector.changes(None).cursor
    users = {user["username"]: user["id"] for user in api("GET", "/users")["items"]}
    told = api("GET", f"/datasets/{connector.project.id}")["last_activity_at"]
    answers = [(ids[0], "annotator0", "politics"), (ids[5], "annotator1", "sport"), (ids[6], "annotator2", "sport")]
    items = [
        {
            "id": record,
            "responses": [{"user_id": users[name], "status": "submitted", "values": {"label": {"value": label}}}],
        }
        for record, name, label in answers
    ]
    api("PUT", f"/datasets/{connector.project.id}/records/bulk", {"items": items})
    assert api("GET", f"/datasets/{connector.project.id}")["last_activity_at"] == told
    monkeypatch.setattr(changes, "ANYWAY_S", 0.0)  # a minute later
    found = connector.changes(cursor)
    assert {(one.remote_id, one.value[0]) for one in found.annotations} == {(one, label) for one, _, label in answers}
    assert mine.id in statuses(found)


def test_a_response_that_only_the_database_has_is_found_in_time(labelled: Labelled, monkeypatch: pytest.MonkeyPatch):
    """Argilla fails on a discarded response without values, after storing it: the search knows nothing of it."""
    connector, ids, (ann, *_) = labelled
    given = ann.submit(ids[0], "sport")
    with httpx.Client(headers=dict(ann._http.headers), trust_env=False) as client:
        answer = client.post(f"{ann.url}/api/v1/records/{ids[1]}/responses", json={"status": "discarded"})
    assert answer.status_code == 500
    found = connector.changes(None)
    assert set(statuses(found)) == {given.id}
    monkeypatch.setattr(changes, "DEEP_S", 0.0)  # ten minutes later
    monkeypatch.setattr(changes, "ANYWAY_S", 0.0)
    later = connector.changes(found.cursor)
    assert [(one.remote_id, one.status, one.value) for one in later.annotations] == [
        (ids[1], AnnotationStatus.SKIPPED, ())
    ]
    assert set(later.complete) == {ids[1]}


def test_publishing_is_no_change(labelled: Labelled):
    connector, ids, (ann, *_) = labelled
    ann.submit(ids[0], "sport")
    cursor = connector.changes(None).cursor
    connector.publish("nl-1", [QueueEntry(record, rank, SPORT) for rank, record in enumerate(ids[1:])])
    found = connector.changes(cursor)
    assert (found.annotations, found.complete, found.total) == ((), {}, len(ids))
    assert {item.record.fields["text"] for item in found.records} <= {f"text {number}" for number in range(len(ids))}


def test_many_answers_are_all_read_across_pages(labelled: Labelled, monkeypatch: pytest.MonkeyPatch):
    connector, ids, people = labelled
    monkeypatch.setattr(changes, "PAGE", 3)
    given = {person.submit(record, "sport").id for record in ids for person in people[:2]}
    assert set(statuses(connector.changes(None))) == given


def test_reading_is_rationed_where_it_takes_long(labelled: Labelled, monkeypatch: pytest.MonkeyPatch):
    connector, ids, (ann, *_) = labelled
    monkeypatch.setattr(changes, "QUICK_S", 0.0)
    monkeypatch.setattr(changes, "SHARE", 0.00001)
    cursor = connector.changes(None).cursor
    given = ann.submit(ids[0], "sport")
    later = connector.changes(cursor)
    assert later.annotations == (), "not yet"
    connector._poll._rest_until = 0.0
    assert set(statuses(connector.changes(later.cursor))) == {given.id}, "but not lost"


def test_a_foreign_cursor_is_a_value_error(argilla_dataset: Make):
    with pytest.raises(ValueError, match="not a cursor"):
        argilla_dataset().changes("2026-11-22T06:29:07.093071Z")


def test_records_that_others_add_or_correct_are_told_once(argilla: ArgillaServer, argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    path = f"/datasets/{connector.project.id}/records"

    def told(found: Changes) -> list[str]:
        return [item.record.fields["text"] for item in found.records]

    connector.push(numbered(9))
    found = connector.changes(None)
    assert (found.records, found.total) == ((), 9), "whoever has no cursor lists them all"
    found = connector.changes(found.cursor)
    api("POST", f"{path}/bulk", {"items": [{"fields": {"text": "theirs"}}]})
    found = connector.changes(found.cursor)
    assert (told(found), found.total) == (["theirs"], 10)
    api("PUT", f"{path}/bulk", {"items": [{"external_id": "u3", "fields": {"text": "uploaded again"}}]})
    found = connector.changes(found.cursor)
    assert told(found) == ["uploaded again"]
    oldest = next(connector.records()).remote_id
    connector.publish("nl-1", [QueueEntry(oldest, 0, SPORT)])
    api("PATCH", f"/records/{oldest}", {"fields": {"text": "corrected"}})
    connector.publish("nl-2", [QueueEntry(found.records[0].remote_id, 0, SPORT), QueueEntry(oldest, 1, SPORT)])
    last, found = found, connector.changes(found.cursor)
    assert "corrected" in told(found), "though we wrote to it since"
    found = connector.changes(found.cursor)
    assert (found.records, found.total) == ((), 10), "what we wrote is read once"
    heir = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    assert "corrected" in told(heir.changes(last.cursor)), "another process"
    heir.close()


def test_corrected_records_that_can_not_be_listed_cost_no_answer(
    labelled: Labelled, api: Api, monkeypatch: pytest.MonkeyPatch
):
    connector, ids, (ann, *_) = labelled
    cursor = connector.changes(None).cursor
    given = ann.submit(ids[0], "sport")
    api("PATCH", f"/records/{ids[1]}", {"fields": {"text": "corrected"}})

    def refuse(*_: Any, **__: Any) -> Any:
        raise PlatformUnavailable("not sorted", status=500)

    with monkeypatch.context() as patched:
        patched.setattr(connector._rows, "written", refuse)
        found = connector.changes(cursor)
    assert (set(statuses(found)), found.missed) == ({given.id}, "not sorted")
    later = connector.changes(found.cursor)
    assert "corrected" in [item.record.fields["text"] for item in later.records]
    assert not later.missed


def test_a_changed_question_is_noticed(argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    [question] = api("GET", f"/datasets/{connector.project.id}/questions")["items"]
    options = [{**option, "description": "in plain words"} for option in question["settings"]["options"]]
    settings = {"type": "label_selection", "options": options}
    api("PATCH", f"/questions/{question['id']}", {"settings": settings})
    connector.changes(None)
    assert connector.labeling.descriptions == {"sport": "in plain words", "politics": "in plain words"}


def answer_of(api: Api, response: str, dataset: str) -> tuple[str, str]:
    items = api("GET", f"/datasets/{dataset}/records?limit=100&include=responses")["items"]
    [found] = [one for item in items for one in item["responses"] if one["id"] == response]
    return found["values"]["label"]["value"], found["updated_at"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_an_answer_changed_meanwhile_is_reverted_by_the_sdk_and_never_by_us(
    argilla: ArgillaServer, labelled: Labelled, api: Api, monkeypatch: pytest.MonkeyPatch
):
    """The SDK sends a record back with the responses that it read. What we send holds neither responses nor fields."""
    connector, ids, (ann, *_) = labelled
    given = ann.submit(ids[0], "sport")
    connector.changes(None)
    with argilla_sdk(argilla) as client:
        dataset = client.datasets(connector.project.title)
        assert dataset is not None
        stale = list(dataset.records(with_responses=True))
        ann.update(given, "politics")
        dataset.records.log(stale)
    assert answer_of(api, given.id, connector.project.id)[0] == "sport", "the trap has gone: our care may be, too"

    sent: list[dict[str, Any]] = []
    request = httpx.Client.request

    def watching(self: httpx.Client, method: str, url: Any, **options: Any) -> httpx.Response:
        if str(url).endswith("/records/bulk"):
            sent.extend(json.loads(options["content"])["items"])
        return request(self, method, url, **options)

    list(connector.records())  # all that we read is read now, and old by the time we write
    connector.changes(None)
    ann.update(given, "politics")
    changed = answer_of(api, given.id, connector.project.id)
    monkeypatch.setattr(httpx.Client, "request", watching)
    connector.publish("nl-1", [QueueEntry(record, rank, SPORT) for rank, record in enumerate(ids[:4])])
    connector.extend("nl-1", [QueueEntry(record, rank, SPORT) for rank, record in enumerate(ids[4:], 4)])
    connector.publish("nl-2", [QueueEntry(record, rank, SPORT) for rank, record in enumerate(ids[::-1])])
    connector.push(numbered(10))
    monkeypatch.undo()
    assert sent, "something was sent"
    assert not [item for item in sent if "responses" in item]
    assert not [item for item in sent if "id" in item and "fields" in item]
    assert answer_of(api, given.id, connector.project.id) == changed
