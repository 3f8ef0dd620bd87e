"""Records in and answers out: on a real Label Studio."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.label_studio import listing, tasks
from nextlabel.connectors.label_studio.config import UID_KEY
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.label_studio.payloads import write_result
from nextlabel.connectors.records import AnnotationStatus, Changes, QueueEntry, Record, Suggestion
from tests.live.label_studio_calls import api, numbered
from tests.waiting import wait_for

Make = Callable[..., LabelStudioConnector]

STRANGE = {
    "empty": "",
    "blank": " \n\t ",
    "emoji": "👩🏽‍🚀🇵🇱 café ✨",
    "rtl": "مرحبا بالعالم — ‏שלום עולם‏",
    "markup": "<b>&amp;</b> <script>alert(1)</script> %25 %s {{x}} $text",
    "quotes": "\"'`\\ \\n \\u0041",
    "controls": "a\u0001b\u007f\u2028c\u0000d",
    "url": "http://example.com/a.png?x=1&y=2",
    "long": "word " * 20_000,
}


def test_strange_texts_and_uids_come_back_as_they_were(label_studio_project: Make):
    connector = label_studio_project()
    records = [Record(f"{name} 50% \"ü\" 'x' 🎈", {"text": text}, {"name": name}) for name, text in STRANGE.items()]
    ids = connector.push(records)
    assert list(ids) == [record.uid for record in records]
    assert [item.record for item in connector.records()] == records
    assert connector.push(records) == ids, "found by their uids, none doubled"
    assert len(list(connector.records())) == len(records)


def test_a_push_again_adds_only_what_is_missing(label_studio_project: Make, monkeypatch: pytest.MonkeyPatch):
    connector = label_studio_project()
    seen: list[tuple[int, int]] = []
    first = connector.push(numbered(5))
    second = connector.push(numbered(8), lambda done, total: seen.append((done, total)))
    assert {uid: second[uid] for uid in first} == first
    assert len(set(second.values())) == 8
    assert seen == [(5, 8), (8, 8)]
    monkeypatch.setattr(tasks, "LOOK_UP", 2)  # many uids are found by listing the project instead
    assert connector.push(numbered(8)) == second


def test_batches_are_bounded_and_stay_in_order(label_studio_project: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "BATCH", 7)
    monkeypatch.setattr(listing, "PAGE", 4)
    connector = label_studio_project()
    ids = connector.push(numbered(20))
    assert [(item.remote_id, item.record) for item in connector.records()] == list(
        zip(ids.values(), numbered(20), strict=True)
    )


def test_a_lost_reply_doubles_nothing(label_studio_project: Make, monkeypatch: pytest.MonkeyPatch):
    connector = label_studio_project()
    connector.push(numbered(1))
    send = httpx.Client.request
    lost: list[httpx.Response] = []

    def lose_the_first_reply(self: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
        answer = send(self, method, url, **options)
        if str(url).endswith("/import") and not lost:
            lost.append(answer)
            raise httpx.ReadError("connection reset")
        return answer

    monkeypatch.setattr(httpx.Client, "request", lose_the_first_reply)
    ids = connector.push(numbered(6))
    assert lost[0].status_code == 201, "the tasks were stored, only the reply was lost"
    assert [item.remote_id for item in connector.records()] == list(ids.values())


def test_an_import_that_never_arrived_is_sent_again(label_studio_project: Make, monkeypatch: pytest.MonkeyPatch):
    connector = label_studio_project()
    send = httpx.Client.request
    failed: list[str] = []

    def fail_the_first_import(self: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
        if str(url).endswith("/import") and not failed:
            failed.append(url)
            raise httpx.ConnectError("refused")
        return send(self, method, url, **options)

    monkeypatch.setattr(httpx.Client, "request", fail_the_first_import)
    assert len(connector.push(numbered(6))) == 6
    assert len(list(connector.records())) == 6


def test_doubled_tasks_are_made_one_again_and_answers_are_kept(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project()
    rows = [{"data": {"text": f"text {number}", UID_KEY: f"u{number}"}} for number in (0, 1)]
    for _ in range(2):  # what two processes that push at the same moment do
        api(label_studio, "POST", f"/api/projects/{connector.project.id}/import", json=rows)
    doubled = [item.remote_id for item in connector.records()]
    Annotator(label_studio.url, annotators[0], connector.project.id).submit(int(doubled[2]), "sport")
    ids = connector.push(numbered(2))
    assert ids == {"u0": doubled[2], "u1": doubled[1]}, "the answered one, or the older"
    assert sorted(ids.values()) == sorted(item.remote_id for item in connector.records())


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([Record("a", {"text": "x"}), Record("a", {"text": "y"})], "two different records"),
        ([Record("", {"text": "x"})], "is empty"),
    ],
)
def test_uids_that_name_no_one_record_are_refused_before_anything_is_sent(
    records: list[Record], says: str, label_studio_project: Make
):
    connector = label_studio_project()
    with pytest.raises(RecordsRejected, match=says):
        connector.push([*numbered(3), *records])
    assert list(connector.records()) == []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Record("a", {"title": "x"}), "lacks the fields text"),
        (Record("a", {"text": "\ud800"}), "can't be sent as JSON"),
        (Record("a", {"text": "x"}, {"x": {1, 2}}), "can't be sent as JSON"),
        (Record("a", {"text": "x"}, {"x": float("nan")}), "can't be sent as JSON"),
    ],
)
def test_a_record_that_is_refused_is_named_and_all_others_are_stored(
    bad: Record, says: str, label_studio_project: Make
):
    connector = label_studio_project()
    with pytest.raises(RecordsRejected, match=says) as caught:
        connector.push([bad, *numbered(3)])
    assert caught.value.refused.keys() == {"a"}
    assert caught.value.found == {item.record.uid: item.remote_id for item in connector.records()}
    assert caught.value.found.keys() == {"u0", "u1", "u2"}


def test_a_task_that_the_server_refuses_keeps_no_other_out(label_studio_project: Make, monkeypatch: pytest.MonkeyPatch):
    connector = label_studio_project()
    monkeypatch.setattr(tasks, "write_task", lambda form, record: {"data": dict(record.fields)})  # no rule of ours
    with pytest.raises(RecordsRejected, match="'bad'") as caught:
        connector.push([*numbered(9)[:5], Record("bad", {"title": "x"}), *numbered(9)[5:]])
    assert caught.value.stored == 9
    assert caught.value.refused.keys() == {"bad"}
    assert len(list(connector.records())) == 9


def test_the_same_record_twice_is_pushed_once(label_studio_project: Make):
    connector = label_studio_project()
    assert len(connector.push([*numbered(2), *numbered(2)])) == 2
    assert len(list(connector.records())) == 2


def test_records_of_others_are_listed_under_a_uid_of_their_own(
    label_studio: LabelStudioServer, label_studio_project: Make
):
    connector = label_studio_project()
    connector.push(numbered(1))
    api(label_studio, "POST", f"/api/projects/{connector.project.id}/import", json=[{"text": "from a colleague"}])
    ours, theirs = connector.records()
    assert ours.record == numbered(1)[0]
    assert theirs.record == Record(f"label-studio-{theirs.remote_id}", {"text": "from a colleague"})


def test_deleted_records_are_found(
    label_studio: LabelStudioServer, label_studio_project: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listing, "QUERY_BYTES", 40)
    connector = label_studio_project()
    ids = list(connector.push(numbered(30)).values())
    assert connector.missing(ids) == ()
    api(label_studio, "DELETE", f"/api/tasks/{ids[3]}/")
    api(label_studio, "DELETE", f"/api/tasks/{ids[29]}/")
    assert connector.missing(ids) == (ids[3], ids[29])
    assert connector.missing([]) == ()


# -- changes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
) -> Iterator[tuple[LabelStudioConnector, list[str], Annotator]]:
    connector = label_studio_project()
    ids = list(connector.push(numbered(10)).values())
    with Annotator(label_studio.url, annotators[0], connector.project.id) as annotator:
        yield connector, ids, annotator


def test_a_poll_sees_answers_skips_and_changes_of_mind(
    labelled: tuple[LabelStudioConnector, list[str], Annotator],
):
    connector, ids, annotator = labelled
    start = datetime.now(UTC)
    first = annotator.submit(int(ids[0]), "sport")
    skipped = annotator.skip(int(ids[1]))
    changes = connector.changes(None)
    one, two = changes.annotations
    assert (one.id, one.remote_id, one.value, one.status) == (
        str(first.id),
        ids[0],
        ("sport",),
        AnnotationStatus.SUBMITTED,
    )
    assert (two.id, two.remote_id, two.value, two.status) == (str(skipped.id), ids[1], (), AnnotationStatus.SKIPPED)
    assert one.annotator == str(first.body["completed_by"])
    assert abs((one.updated_at - start).total_seconds()) < 60
    annotator.update(first, "politics")
    later = connector.changes(changes.cursor)
    changed = {answer.id: answer for answer in later.annotations}[one.id]
    assert changed.value == ("politics",)
    assert changed.updated_at > one.updated_at
    assert changes.complete[ids[0]] == {one.id}


def test_deleted_answers_show_as_records_that_lack_them(
    label_studio: LabelStudioServer, labelled: tuple[LabelStudioConnector, list[str], Annotator]
):
    connector, ids, annotator = labelled
    kept, gone = annotator.submit(int(ids[0]), "sport"), annotator.submit(int(ids[0]), "politics")
    alone = annotator.submit(int(ids[1]), "sport")
    in_bulk = annotator.submit(int(ids[2]), "sport")
    cursor = connector.changes(None).cursor
    annotator.delete(gone)
    annotator.delete(alone)
    api(
        label_studio,
        "POST",
        f"/api/dm/actions?id=delete_tasks_annotations&project={connector.project.id}",
        json={"selectedItems": {"all": False, "included": [int(ids[2])]}, "project": connector.project.id},
    )
    seen: dict[str, frozenset[str]] = {}

    def all_seen() -> bool:
        changes = connector.changes(cursor)
        seen.update(changes.complete)
        assert {answer.id for answer in changes.annotations} <= {str(kept.id)}
        return {ids[0], ids[1], ids[2]} <= seen.keys()

    wait_for(all_seen)
    assert seen[ids[0]] == {str(kept.id)}
    assert seen[ids[1]] == seen[ids[2]] == frozenset()
    assert str(alone.id) != str(in_bulk.id)


def test_counters_that_are_late_hide_no_answer(
    label_studio: LabelStudioServer, labelled: tuple[LabelStudioConnector, list[str], Annotator]
):
    """An import of predictions counts first and writes later, over what was counted meanwhile: 0, for minutes."""
    connector, ids, annotator = labelled
    cursor = connector.changes(None).cursor
    given, skipped = annotator.submit(int(ids[0]), "sport"), annotator.skip(int(ids[1]))
    with closing(sqlite3.connect(label_studio.data_dir / "label_studio.sqlite3", timeout=60)) as database, database:
        late = "UPDATE task SET total_annotations = 0, cancelled_annotations = 0 WHERE project_id = ?"
        assert database.execute(late, (int(connector.project.id),)).rowcount == len(ids)
    listed = api(label_studio, "GET", f"/api/tasks/{ids[0]}/").json()
    assert (listed["total_annotations"], len(listed["annotations"])) == (0, 1)
    for look in (connector.changes(cursor), *connector.annotated()):
        assert {one.id for one in look.annotations} == {str(given.id), str(skipped.id)}
        assert (look.complete[ids[0]], look.complete[ids[1]]) == (
            frozenset({str(given.id)}),
            frozenset({str(skipped.id)}),
        )


def test_a_doubled_task_whose_counters_are_late_is_kept(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    """The answered one of two stays, and one with somebody's draft is nobody's to delete."""
    connector = label_studio_project()
    rows = [{"data": {"text": f"text {number}", UID_KEY: f"u{number}"}} for number in (0, 1)]
    for _ in range(2):
        api(label_studio, "POST", f"/api/projects/{connector.project.id}/import", json=rows)
    first, second, third, fourth = (item.remote_id for item in connector.records())
    ann = Annotator(label_studio.url, annotators[0], connector.project.id)
    ann.submit(int(third), "sport")
    region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["sport"]}}
    headers = {"Authorization": f"Token {annotators[1]}"}
    draft = {"result": [region], "lead_time": 1}
    httpx.post(f"{label_studio.url}/api/tasks/{fourth}/drafts", json=draft, headers=headers).raise_for_status()
    with closing(sqlite3.connect(label_studio.data_dir / "label_studio.sqlite3", timeout=60)) as database, database:
        database.execute("UPDATE task SET total_annotations = 0 WHERE id = ?", (int(third),))
    assert connector.push(numbered(2)) == {"u0": third, "u1": fourth}
    assert {item.remote_id for item in connector.records()} == {third, fourth}
    assert {first, second} == set(connector.missing([first, second, third, fourth]))


def test_a_clock_that_was_put_back_leaves_no_gap(
    label_studio: LabelStudioServer, labelled: tuple[LabelStudioConnector, list[str], Annotator]
):
    """The cursor then lies in the future, where no change is."""
    connector, ids, annotator = labelled
    given = annotator.submit(int(ids[0]), "sport")
    assert not connector.changes(connector.changes(None).cursor).gap
    ahead = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    found = connector.changes(ahead)
    assert found.gap, "everything should be compared"
    assert str(given.id) in {one.id for one in found.annotations}
    assert not connector.changes(found.cursor).gap


def test_answers_that_were_imported_are_found_though_no_event_tells_of_them(
    label_studio: LabelStudioServer, labelled: tuple[LabelStudioConnector, list[str], Annotator]
):
    connector, _, _ = labelled
    cursor = connector.changes(None).cursor
    region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["sport"]}}
    rows = [{"data": {"text": "old", UID_KEY: "old"}, "annotations": [{"result": [region]}]}]
    api(label_studio, "POST", f"/api/projects/{connector.project.id}/import", json=rows)
    [answer] = connector.changes(cursor).annotations
    assert answer.value == ("sport",)


def test_publishing_is_no_change(labelled: tuple[LabelStudioConnector, list[str], Annotator]):
    connector, ids, _ = labelled
    looks = [connector.changes(None)]
    assert set(looks[0].complete) == set(ids)

    def all_settled() -> bool:  # so much of the past is read again
        looks.append(connector.changes(looks[-1].cursor))
        return not looks[-1].complete

    wait_for(all_settled)
    cursor = looks[-1].cursor
    entries = [QueueEntry(task, rank, Suggestion(("sport",), 0.5, "m")) for rank, task in enumerate(ids)]
    connector.publish("nl-quiet-1", entries)
    assert connector.changes(cursor) == Changes(cursor=cursor, total=len(ids))


def test_an_empty_project_has_no_changes(label_studio_project: Make):
    assert label_studio_project().changes(None) == Changes(total=0)


def test_many_answers_are_all_read_across_pages(
    labelled: tuple[LabelStudioConnector, list[str], Annotator], monkeypatch: pytest.MonkeyPatch
):
    connector, ids, annotator = labelled
    monkeypatch.setattr(listing, "PAGE", 3)
    monkeypatch.setattr("nextlabel.connectors.label_studio.connector.FETCH", 4)
    stored = {str(annotator.submit(int(task), "sport").id) for task in ids}
    assert {answer.id for answer in connector.changes(None).annotations} == stored


def test_a_changed_question_is_noticed(
    label_studio: LabelStudioServer, labelled: tuple[LabelStudioConnector, list[str], Annotator]
):
    connector, _, _ = labelled
    path = f"/api/projects/{connector.project.id}"
    config = api(label_studio, "GET", path).json()["label_config"]
    wider = config.replace('<Choice value="politics" />', '<Choice value="politics" /><Choice value="economy" />')
    assert wider != config
    api(label_studio, "PATCH", path, json={"label_config": wider, "maximum_annotations": 3})
    connector.changes(None)
    assert connector.labeling.labels == ("sport", "politics", "economy")
    assert connector.overlap == 3


def test_what_is_marked_as_the_truth_is_read_as_such(label_studio: LabelStudioServer, label_studio_project: Make):
    """The mark moves the annotation's time, so that the next poll sees it."""
    connector = label_studio_project()
    [task] = connector.push(numbered(1)).values()
    body = {"result": write_result(connector.form, ("sport",)), "ground_truth": True}
    number = api(label_studio, "POST", f"/api/tasks/{task}/annotations/", json=body).json()["id"]
    first = connector.changes(None)
    assert [one.is_truth for one in first.annotations] == [True]
    api(label_studio, "PATCH", f"/api/annotations/{number}/", json={"ground_truth": False})
    [again] = connector.changes(first.cursor).annotations
    assert not again.is_truth
    assert again.updated_at > first.annotations[0].updated_at
    assert connector.annotations({again.id: task}) == {again.id: again}
