"""Records in and answers out: on a real Argilla."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.stack.argilla_annotator import ArgillaAnnotator
from nextlabel.connectors.argilla import ArgillaConnector, changes, push, rows
from nextlabel.connectors.argilla.config import NONE
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import (
    ConfigError,
    LabelingMismatch,
    PlatformError,
    PlatformUnavailable,
    ProjectNotFound,
    RecordsRejected,
    Unauthorized,
)
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Changes,
    Field,
    FieldKind,
    Labeling,
    LabelKind,
    QueueEntry,
    Record,
    Span,
    Suggestion,
)
from tests.live.chrome import PASSWORD, ArgillaPage, in_chromium, window

pytestmark = pytest.mark.live

Make = Callable[..., ArgillaConnector]
Api = Callable[..., Any]

STRANGE = {
    "empty": "",
    "blank": " \n\t ",
    "emoji": "👩🏽‍🚀🇵🇱 café ✨",
    "rtl": "مرحبا بالعالم — ‏שלום עולם‏",
    "markup": "<b>&amp;</b> <script>alert(1)</script> %25 %s {{x}} $text",
    "quotes": "\"'`\\ \\n \\u0041",
    "controls": "a\u0001b\u007f\u2028c",
    "long": "word " * 20_000,
}
SPORT = Suggestion(("sport",), 0.9, "model-1")
WORDS = {"Ann": "person", "Paris": "place"}
PLACE = """word => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; (node = walk.nextNode()); ) {
    const start = node.textContent.indexOf(word)
    if (start < 0 || !node.parentElement.offsetParent) continue
    const range = document.createRange()
    range.setStart(node, start)
    range.setEnd(node, start + word.length)
    const box = range.getBoundingClientRect()
    return [box.left, box.top + box.height / 2, box.right]
  }
}"""


@pytest.fixture
def api(argilla: ArgillaServer) -> Iterator[Api]:
    """The server's own API, with the owner's key: ``api(method, path, body)``."""
    headers = {"X-Argilla-Api-Key": argilla.token}
    with httpx.Client(base_url=f"{argilla.url}/api/v1", headers=headers, timeout=60, trust_env=False) as client:

        def call(method: str, path: str, body: Any = None) -> Any:
            answer = client.request(method, path, json=body)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

        yield call


@pytest.fixture
def crew(argilla: ArgillaServer, argilla_users: list[str]) -> Iterator[Callable[[ArgillaConnector], list[Any]]]:
    """The four annotators at work in a dataset."""
    clients: list[ArgillaAnnotator] = []

    def gather(connector: ArgillaConnector) -> list[ArgillaAnnotator]:
        here = [ArgillaAnnotator(argilla.url, key, connector.project.id) for key in argilla_users]
        clients.extend(here)
        return here

    yield gather
    for client in clients:
        client.close()


def numbered(count: int, first: int = 0) -> list[Record]:
    return [Record(f"u{number}", {"text": f"text {number}"}, {"row": number}) for number in range(first, count)]


def statuses(found: Changes) -> dict[str, AnnotationStatus]:
    return {one.id: one.status for one in found.annotations}


def values(found: Changes) -> dict[str, Any]:
    return {one.id: one.value for one in found.annotations}


# -- push and list ---------------------------------------------------------------------------------------------------


def test_strange_texts_and_uids_come_back_as_they_were(argilla_dataset: Make):
    connector = argilla_dataset()
    uids = {name: f"{name} / ünï ✨ #?&%:," for name in STRANGE}
    records = [
        Record(uids[name], {"text": text}, {"kind": name, "ünï": ["✨", None, 1.5]}) for name, text in STRANGE.items()
    ]
    ids = connector.push(records)
    back = {item.record.uid: item for item in connector.records()}
    assert {uid: item.remote_id for uid, item in back.items()} == ids
    assert [back[record.uid].record for record in records] == records
    assert connector.push(records) == ids


def test_a_push_again_adds_only_what_is_missing_and_touches_nothing(
    argilla_dataset: Make, api: Api, monkeypatch: pytest.MonkeyPatch
):
    connector = argilla_dataset()
    ids = connector.push(numbered(6))
    before = api("GET", f"/datasets/{connector.project.id}/records?limit=100")["items"]
    changed = [Record(record.uid, {"text": "another text"}) for record in numbered(6)]
    assert connector.push([*changed, *numbered(9, first=6)]).items() >= ids.items()
    monkeypatch.setattr(push, "LOOK_UP", 2)  # many uids are found by listing the dataset instead
    assert connector.push(numbered(9)).items() >= ids.items()
    after = api("GET", f"/datasets/{connector.project.id}/records?limit=100")["items"]
    assert after[:6] == before
    assert len(after) == 9


def test_progress_is_told_and_batches_are_bounded(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(push, "BATCH", 4)
    monkeypatch.setattr(rows, "PAGE", 3)
    connector = argilla_dataset()
    told: list[tuple[int, int]] = []
    connector.push(numbered(10), lambda done, total: told.append((done, total)))
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]
    monkeypatch.setattr(push, "BATCH_BYTES", 100)
    connector.push(numbered(14), lambda done, total: told.append((done, total)))
    assert told[4:] == [(10, 14), (13, 14), (14, 14)] or len(told[4:]) > 3
    assert sorted(item.record.uid for item in connector.records()) == sorted(record.uid for record in numbered(14))


def test_pages_of_heavy_records_are_short(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "PAGE_BYTES", 100_000)
    connector = argilla_dataset()
    heavy = [Record(f"u{number}", {"text": f"{number} " + "word " * 4000}) for number in range(40)]
    ids = connector.push(heavy)
    sizes: list[int] = []
    request = httpx.Client.request

    def weighing(self: httpx.Client, method: str, url: Any, **options: Any) -> httpx.Response:
        answer = request(self, method, url, **options)
        sizes.append(len(answer.content))
        return answer

    monkeypatch.setattr(httpx.Client, "request", weighing)
    assert {item.record.uid: item.remote_id for item in connector.records()} == ids
    assert connector._rows.fetch(list(ids.values())).keys() == set(ids.values())
    assert max(sizes[2:]) < 200_000, "but for the first page, which can't know"


@pytest.mark.parametrize("arrives", [True, False])
def test_a_lost_reply_doubles_nothing(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch, arrives: bool):
    connector = argilla_dataset()
    request, lost = httpx.Client.request, []

    def lose_the_first_reply(self: httpx.Client, method: str, url: Any, **options: Any) -> httpx.Response:
        if method == "POST" and str(url).endswith("/records/bulk") and not lost:
            lost.append(url)
            if arrives:
                request(self, method, url, **options)
            raise httpx.ReadError("the connection broke")
        return request(self, method, url, **options)

    monkeypatch.setattr(httpx.Client, "request", lose_the_first_reply)
    ids = connector.push(numbered(5))
    assert lost
    assert {item.record.uid: item.remote_id for item in connector.records()} == ids
    assert len(ids) == 5


def test_a_uid_that_the_search_does_not_find_yet_is_not_doubled(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    connector = argilla_dataset()
    ids = connector.push(numbered(3))
    monkeypatch.setattr(rows.Rows, "named", lambda self, uids: {})
    assert connector.push(numbered(5)).items() >= ids.items()
    assert len(list(connector.records())) == 5


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Record("bad", {}), "lacks the fields text"),
        (Record("bad", {"text": "half of an emoji \ud83d"}), "can't be sent as JSON"),
        (Record("bad", {"text": "a\0b"}), "NUL"),
        (Record("bad", {"text": "x"}, {"score": float("nan")}), "can't be sent as JSON"),
        (Record("bad", {"text": "x"}, {"when": datetime(2026, 1, 1, tzinfo=UTC)}), "can't be sent as JSON"),
        (Record("bad", {"text": "x"}, {"size": "large"}), "size"),  # the server's own refusal: it wants a number
    ],
)
def test_a_record_that_is_refused_is_named_and_all_others_are_stored(
    argilla_dataset: Make, api: Api, bad: Record, says: str
):
    connector = argilla_dataset()
    size = {"name": "size", "title": "size", "settings": {"type": "integer"}, "visible_for_annotators": True}
    api("POST", f"/datasets/{connector.project.id}/metadata-properties", size)
    with pytest.raises(RecordsRejected, match="'bad'") as caught:
        connector.push([*numbered(20), bad, *numbered(30, first=20)])
    assert says in str(caught.value)
    assert (caught.value.sent, caught.value.stored) == (31, 30)
    assert {item.record.uid for item in connector.records()} == {record.uid for record in numbered(30)}


def test_a_push_of_nothing_but_refused_records_gives_up(
    argilla_dataset: Make, api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(push, "REFUSALS", 3)
    connector = argilla_dataset()
    size = {"name": "size", "title": "size", "settings": {"type": "integer"}, "visible_for_annotators": True}
    api("POST", f"/datasets/{connector.project.id}/metadata-properties", size)
    with pytest.raises(RecordsRejected, match=r"3 of 20 .* 17 were not tried"):
        connector.push([Record(f"u{number}", {"text": "x"}, {"size": "large"}) for number in range(20)])


@pytest.mark.parametrize("doubled", ["u1", ""])
def test_uids_that_name_no_one_record_are_refused_before_anything_is_sent(argilla_dataset: Make, doubled: str):
    connector = argilla_dataset()
    with pytest.raises(RecordsRejected, match="nothing was pushed"):
        connector.push([*numbered(3), Record(doubled, {"text": "another"})])
    assert list(connector.records()) == []
    assert len(connector.push([*numbered(2), *numbered(2)])) == 2, "the same record twice is one record"


def test_records_of_others_are_listed_under_a_uid_of_their_own(argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    connector.push(numbered(1))
    path = f"/datasets/{connector.project.id}/records/bulk"
    [made] = api("POST", path, {"items": [{"fields": {"text": "theirs"}, "metadata": {"by": "hand"}}]})["items"]
    theirs = next(item for item in connector.records() if item.record.uid != "u0")
    assert theirs.remote_id == made["id"]
    assert theirs.record == Record(f"argilla-{made['id']}", {"text": "theirs"}, {"by": "hand"})


def test_deleted_records_are_found(argilla_dataset: Make, api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "TERMS", 4)
    connector = argilla_dataset()
    ids = list(connector.push(numbered(10)).values())
    assert connector.deletions(ids) == ()
    api("DELETE", f"/datasets/{connector.project.id}/records?ids={ids[2]},{ids[7]}")
    assert sorted(connector.deletions(ids)) == sorted([ids[2], ids[7]])
    monkeypatch.setattr(rows, "DOUBTS", 1)  # many are looked up by listing the dataset instead
    assert sorted(connector.deletions(ids)) == sorted([ids[2], ids[7]])
    assert connector.deletions([]) == ()


def test_a_record_that_only_the_search_has_lost_is_not_deleted(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    connector = argilla_dataset()
    ids = list(connector.push(numbered(3)).values())
    monkeypatch.setattr(rows.Rows, "_search", lambda *_: {"items": [], "total": 0})
    assert connector.deletions(ids[:2]) == ()


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(argilla_dataset: Make, crew: Any) -> tuple[ArgillaConnector, list[str], list[ArgillaAnnotator]]:
    """A dataset with eight records, and its annotators."""
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
    assert set(after.deleted_annotations) == {mine.id, alone.id}
    assert after.complete == {ids[0]: {theirs.id}, ids[1]: frozenset()}


def test_an_answer_that_came_and_went_between_two_polls_is_told_if_an_event_spoke_of_it(labelled: Labelled):
    connector, ids, (ann, *_) = labelled
    start = connector.changes(None)
    gone = ann.submit(ids[3], "sport")
    record = {"id": ids[3], "dataset": {"id": connector.project.id}}
    body = {"type": "response.created", "data": {**gone.body, "record": record, "user": {"id": gone.body["user_id"]}}}
    assert set(statuses(connector.parse_event(json.loads(json.dumps(body))))) == {gone.id}
    ann.delete(gone)
    assert connector.changes(start.cursor).complete == {ids[3]: frozenset()}


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
    assert (found.annotations, found.complete, found.records_added) == ((), {}, False)


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


def test_records_that_others_add_are_noticed_and_our_own_are_not(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api
):
    connector = argilla_dataset()
    path = f"/datasets/{connector.project.id}/records"
    connector.push(numbered(5))
    found = connector.changes(None)
    assert not found.records_added
    connector.push(numbered(9))
    found = connector.changes(found.cursor)
    assert not found.records_added, "our own"
    api("POST", f"{path}/bulk", {"items": [{"fields": {"text": "theirs"}}]})
    found = connector.changes(found.cursor)
    assert found.records_added
    assert len(list(connector.records())) == 10
    found = connector.changes(found.cursor)
    assert not found.records_added, "listed"
    oldest = next(connector.records()).remote_id
    connector.changes(found.cursor)
    api("DELETE", f"{path}?ids={oldest}")
    api("POST", f"{path}/bulk", {"items": [{"fields": {"text": "in exchange"}}]})
    heir = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    assert heir.changes(found.cursor).records_added, "as many as before, and another process"
    heir.close()


def test_a_changed_question_is_noticed(argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    [question] = api("GET", f"/datasets/{connector.project.id}/questions")["items"]
    assert not connector.changes(None).labeling_changed
    options = [{**option, "description": "in plain words"} for option in question["settings"]["options"]]
    settings = {"type": "label_selection", "options": options}
    api("PATCH", f"/questions/{question['id']}", {"settings": settings})
    assert connector.changes(None).labeling_changed
    assert connector.labeling.descriptions == {"sport": "in plain words", "politics": "in plain words"}
    assert not connector.changes(None).labeling_changed


# -- never answer for anybody ----------------------------------------------------------------------------------------


def answer_of(api: Api, response: str, dataset: str) -> tuple[str, str]:
    items = api("GET", f"/datasets/{dataset}/records?limit=100&include=responses")["items"]
    [found] = [one for item in items for one in item["responses"] if one["id"] == response]
    return found["values"]["label"]["value"], found["updated_at"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_an_answer_changed_meanwhile_is_reverted_by_the_sdk_and_never_by_us(
    argilla: ArgillaServer, labelled: Labelled, api: Api, monkeypatch: pytest.MonkeyPatch
):
    """The SDK sends a record back with the responses that it read. What we send holds neither responses nor fields."""
    import argilla as rg

    connector, ids, (ann, *_) = labelled
    given = ann.submit(ids[0], "sport")
    connector.changes(None)
    client = rg.Argilla(api_url=argilla.url, api_key=argilla.token)
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


# -- create and attach -----------------------------------------------------------------------------------------------

KINDS = {
    "single": Labeling(LabelKind.SINGLE, ("ثقافة", "🎬 film"), name="Was ist das?", instruction="Choose **one**."),
    "multi": Labeling(LabelKind.MULTI, ("a", "b", "c"), descriptions={"a": "the first letter"}),
    "span": Labeling(LabelKind.SPAN, ("person", "place"), (Field("title"), Field("body")), "names"),
    "image": Labeling(LabelKind.SINGLE, ("cat", "dog"), (Field("photo", FieldKind.IMAGE), Field("caption"))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_is_made_and_read_back(argilla: ArgillaServer, argilla_dataset: Make, kind: str):
    made = argilla_dataset(KINDS[kind], overlap=2, opinions=3)
    assert made.labeling == KINDS[kind]
    by_id = ArgillaConnector.attach(argilla.url, argilla.token, made.project.id)
    by_name = ArgillaConnector.attach(argilla.url, argilla.token, made.project.title)
    for found in (by_id, by_name):
        assert found.labeling == KINDS[kind]
        assert found.project == made.project
        assert found.overlap == 2
        assert found.links() == made.links()
        found.expect(KINDS[kind])
        found.close()
    assert not made.live_predictions
    with pytest.raises(LabelingMismatch, match="lacks the labels other"):
        made.expect(Labeling(KINDS[kind].kind, ("other",), KINDS[kind].fields))


@pytest.mark.parametrize(
    ("kind", "fields", "value", "answer"),
    [
        ("single", {"text": "t"}, ("🎬 film",), "🎬 film"),
        ("multi", {"text": "t"}, ("a", "c"), ["a", "c"]),
        ("multi", {"text": "t"}, (), [NONE]),
        (
            "span",
            {"title": "👩🏽‍🚀 Ann in Łódź, today", "body": "b"},
            (Span(5, 8, "person"), Span(7, 16, "place")),
            [{"start": 8, "end": 11, "label": "person"}, {"start": 10, "end": 19, "label": "place"}],
        ),
        ("span", {"title": "t", "body": "b"}, (), []),
        ("image", {"photo": "data:image/png;base64,iVBORw0KGgo=", "caption": "c"}, ("cat",), "cat"),
    ],
)
def test_answers_and_suggestions_of_every_kind_are_stored_and_read_back(
    argilla_dataset: Make, api: Api, crew: Any, kind: str, fields: dict[str, str], value: Any, answer: Any
):
    connector = argilla_dataset(KINDS[kind])
    [remote] = connector.push([Record("u", fields)]).values()
    [item] = connector.records()
    assert item.record == Record("u", fields)
    connector.publish("nl-1", [QueueEntry(remote, 0, Suggestion(value, 0.75, "model-1"))])
    [suggestion] = api("GET", f"/records/{remote}/suggestions")["items"]
    assert (suggestion["value"], suggestion["agent"], suggestion["type"]) == (answer, "model-1", "model")
    assert suggestion["score"] == ([0.75] * len(answer) or None if isinstance(answer, list) else 0.75)
    crew(connector)[0].submit(remote, suggestion["value"])
    [given] = connector.changes(None).annotations
    assert (given.value, given.status) == (value, AnnotationStatus.SUBMITTED)


@in_chromium
def test_spans_behind_emoji_are_where_the_web_page_has_them(argilla: ArgillaServer, argilla_dataset: Make):
    """The page is right, whatever the server believes: it is where people see a suggestion, and mark another span."""
    name = f"marker{time.monotonic_ns()}"
    argilla.add_user(name, PASSWORD)
    connector = argilla_dataset(Labeling(LabelKind.SPAN, ("person", "place")))
    text = "👩🏽‍🚀🎬 Ann lives in Paris and likes it a lot"
    ann, paris = (Span(text.index(word), text.index(word) + len(word), label) for word, label in WORDS.items())
    [remote] = connector.push([Record("u", {"text": text})]).values()
    connector.publish("nl-1", [QueueEntry(remote, 0, Suggestion((ann,), 0.9, "model-1"))])
    with window() as page:
        ArgillaPage(page, argilla).sign_in(name)
        page.goto(connector.links()[name])
        page.wait_for_function("() => CSS.highlights && [...CSS.highlights.values()].some(one => one.size)")
        shown = page.evaluate("() => [...CSS.highlights.values()].flatMap(one => [...one].map(String))")
        assert "Ann" in shown
        page.keyboard.press("2")  # the label to mark with
        left, middle, right = page.evaluate(PLACE, "Paris")
        page.mouse.move(left + 1, middle)
        page.mouse.down()
        page.mouse.move(right - 1, middle, steps=8)
        page.mouse.up()
        page.wait_for_function("() => [...CSS.highlights.values()].some(one => [...one].map(String).includes('Paris'))")
        page.keyboard.press("Enter")
        deadline = time.monotonic() + 30
        while not (found := connector.changes(None).annotations):
            assert time.monotonic() < deadline, "nothing was submitted"
            page.wait_for_timeout(200)
    assert set(found[0].value) == {ann, paris}


def test_a_question_among_several_is_chosen(argilla: ArgillaServer, argilla_dataset: Make, api: Api):
    """A dataset as people make it: two questions that we know, another, and a field that is not required."""
    space = next(one for one in api("GET", "/me/workspaces")["items"] if one["name"] == argilla.workspace)
    made = api("POST", "/datasets", {"name": f"by hand {time.time_ns()}", "workspace_id": space["id"]})
    path = f"/datasets/{made['id']}"
    with pytest.raises(PlatformError, match="draft"):
        ArgillaConnector.attach(argilla.url, argilla.token, made["id"])
    text = {"type": "text"}
    api("POST", f"{path}/fields", {"name": "text", "title": "T", "required": True, "settings": text})
    api("POST", f"{path}/fields", {"name": "more", "title": "M", "required": False, "settings": text})
    options = [{"value": value, "text": value} for value in ("a", "b")]
    for name, settings in {
        "why": {"type": "text"},
        "topic": {"type": "label_selection", "options": options},
        "tags": {"type": "multi_label_selection", "options": options},
    }.items():
        body = {"name": name, "title": name, "required": name == "topic", "settings": settings}
        api("POST", f"{path}/questions", body)
    api("PUT", f"{path}/publish")
    with pytest.raises(LabelingMismatch, match=r"several questions.*'topic'.*'tags'"):
        ArgillaConnector.attach(argilla.url, argilla.token, made["id"])
    connector = ArgillaConnector.attach(argilla.url, argilla.token, made["id"], control="tags")
    assert connector.labeling == Labeling(LabelKind.MULTI, ("a", "b"), (Field("text"), Field("more")), "tags")
    assert connector.overlap == 1
    [remote] = connector.push([Record("u", {"text": "t"})]).values()
    api("POST", f"/records/{remote}/responses", {"status": "submitted", "values": {"topic": {"value": "a"}}})
    assert [one.value for one in connector.changes(None).annotations] == [()], "they left our question out"
    connector.close()


def test_a_long_title_is_cut_and_kept(argilla: ArgillaServer, argilla_dataset: Make):
    title = f"{time.time_ns()} " + "ü" * 300
    connector = ArgillaConnector.create(argilla.url, argilla.token, title, KINDS["multi"])
    assert connector.project.title == title
    again = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    assert again.project.title == title
    connector.close()
    again.close()
    with pytest.raises(PlatformError, match="already: attach to it"):
        ArgillaConnector.create(argilla.url, argilla.token, title, KINDS["multi"])


def test_nothing_is_left_of_a_dataset_that_could_not_be_made(argilla: ArgillaServer, api: Api):
    many = Labeling(LabelKind.SINGLE, tuple(f"label {number}" for number in range(600)))
    with pytest.raises(PlatformError, match="options"):
        ArgillaConnector.create(argilla.url, argilla.token, "too many labels", many)
    assert "too many labels" not in {one["name"] for one in api("GET", "/me/datasets")["items"]}


def test_no_such_dataset_or_workspace(argilla: ArgillaServer):
    for project in ("nobody's", "7db0f6df-ca76-4da9-a38e-107ea0813bc4", "17"):
        with pytest.raises(ProjectNotFound, match="no dataset"):
            ArgillaConnector.attach(argilla.url, argilla.token, project)
    with pytest.raises(ProjectNotFound, match=f"no workspace 'elsewhere'.*{argilla.workspace}"):
        ArgillaConnector.create(argilla.url, argilla.token, "t", KINDS["multi"], workspace="elsewhere")


@pytest.mark.usefixtures("no_webhooks_left")
def test_a_dataset_that_is_gone_is_not_found(argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    [remote] = connector.push([Record("u", {"text": "t"})]).values()
    api("DELETE", f"/datasets/{connector.project.id}")
    for call in (
        lambda: connector.changes(None),
        lambda: connector.push([Record("v", {"text": "t"})]),
        lambda: connector.publish("nl-1", [QueueEntry(remote, 0, SPORT)]),
        lambda: list(connector.records()),
        lambda: connector.deletions([remote]),
        lambda: connector.connect(BackendAddress("http://127.0.0.1:9", "u", "p", "s")),
    ):
        with pytest.raises(ProjectNotFound, match=f"no dataset {connector.project.id}"):
            call()


def test_a_wrong_key_and_an_annotators_key_are_unauthorized(argilla: ArgillaServer, argilla_users: list[str]):
    with pytest.raises(Unauthorized, match="refused the API key") as caught:
        ArgillaConnector.attach(argilla.url, "a wrong secret", "x")
    assert "a wrong secret" not in str(caught.value)
    with pytest.raises(Unauthorized, match="'annotator0' is an annotator"):
        ArgillaConnector.attach(argilla.url, argilla_users[0], "x")


def test_an_admin_of_the_workspace_may_do_it_all(argilla: ArgillaServer):
    key = argilla.add_user(f"admin{time.time_ns()}", role="admin")
    connector = ArgillaConnector.create(argilla.url, key, f"an admin's {time.time_ns()}", KINDS["multi"])
    ids = list(connector.push([Record("u", {"text": "t"})]).values())
    connector.publish("nl-1", [QueueEntry(ids[0], 0, Suggestion(("a",), 0.5, "m"))])
    assert connector.changes(None).annotations == ()
    connector.close()


@pytest.mark.parametrize(("overlap", "opinions"), [(0, None), (2, 1)])
def test_senseless_numbers_of_opinions_are_refused(argilla: ArgillaServer, overlap: int, opinions: int | None):
    with pytest.raises(ConfigError, match="opinions"):
        ArgillaConnector.create(argilla.url, argilla.token, "t", KINDS["multi"], overlap=overlap, opinions=opinions)


def test_more_opinions_are_asked_for_within_what_the_dataset_allows_and_beyond(
    argilla_dataset: Make, api: Api, crew: Any
):
    connector = argilla_dataset(overlap=1, opinions=2)
    ids = list(connector.push(numbered(2)).values())
    crew(connector)[0].submit(ids[0], "sport")
    path = f"/datasets/{connector.project.id}"
    connector.ask_again(ids[:1], 2)
    assert api("GET", path)["distribution"]["min_submitted"] == 2
    connector.ask_again([], 9)
    connector.ask_again(ids[:1], 3)
    assert api("GET", path)["distribution"]["min_submitted"] == 3
    assert connector.overlap == 1


def test_a_server_that_refuses_more_opinions_is_quoted_with_the_fix(
    argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch
):
    """Argilla 2.8 takes it at any time; its error for a dataset that has responses is kept for other releases."""
    connector = argilla_dataset()
    request = httpx.Client.request

    def refuse(self: httpx.Client, method: str, url: Any, **options: Any) -> httpx.Response:
        if method != "PATCH":
            return request(self, method, url, **options)
        said = {"code": "update_distribution_with_existing_responses", "message": "has responses"}
        return httpx.Response(422, json=said, request=httpx.Request(method, url))

    monkeypatch.setattr(httpx.Client, "request", refuse)
    with pytest.raises(PlatformError, match=r"has responses.*Set `opinions` in the recipe"):
        connector.ask_again(["x"], 2)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6900", "ftp://host"])
def test_what_is_no_address_is_named(url: str):
    with pytest.raises(ConfigError, match="no address of"):
        ArgillaConnector.attach(url, "key", "x")
    with pytest.raises(ConfigError, match="API key is empty"):
        ArgillaConnector.attach("http://127.0.0.1:1", " ", "x")


def test_a_server_that_is_down_is_unavailable():
    with pytest.raises(PlatformUnavailable, match="Argilla can't be reached"):
        ArgillaConnector.attach("http://127.0.0.1:1", "key", "x")


def test_something_else_at_the_address_is_noticed(argilla: ArgillaServer):
    with pytest.raises((PlatformError, PlatformUnavailable)):
        ArgillaConnector.attach(f"{argilla.url}/dataset", argilla.token, "x")


def test_no_secret_in_representations(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    assert argilla.token not in repr(connector) + repr(connector._client) + repr(connector.project)


# -- size ------------------------------------------------------------------------------------------------------------


def test_ten_thousand_records(argilla_dataset: Make, crew: Any):
    connector = argilla_dataset()
    records = numbered(10_000)
    ids = connector.push(records)
    assert connector.push(records) == ids
    assert {item.record.uid: item.remote_id for item in connector.records()} == ids
    assert connector.deletions(ids.values()) == ()
    given = crew(connector)[0].submit(ids["u9999"], "sport")
    found = connector.changes(None)
    assert [(one.id, one.remote_id) for one in found.annotations] == [(given.id, ids["u9999"])]
    assert isinstance(found.annotations[0], Annotation)
