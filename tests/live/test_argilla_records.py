"""Records in, and which of them are there: on a real Argilla."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from nextlabel.connectors import bulk
from nextlabel.connectors.argilla import rows
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.records import Annotation, Record
from tests.live.argilla_calls import Api, Make, numbered
from tests.size import count

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


def test_numbers_that_a_table_has_as_text_are_stored_as_numbers(argilla_dataset: Make, api: Api):
    connector = argilla_dataset()
    for name, kind in (("stars", "integer"), ("price", "float"), ("shop", "terms")):
        body = {"name": name, "title": name, "settings": {"type": kind}}
        api("POST", f"/datasets/{connector.project.id}/metadata-properties", body)
    cells = [{"stars": "5", "price": "2.5", "shop": "12"}, {"stars": "", "price": "1", "shop": ""}]
    connector.push([Record(f"n{at}", {"text": f"text {at}"}, row) for at, row in enumerate(cells)])
    assert {item.record.uid: item.record.metadata for item in connector.records()} == {
        "n0": {"stars": 5, "price": 2.5, "shop": "12"},
        "n1": {"price": 1.0},
    }
    with pytest.raises(RecordsRejected, match=r"'bad'.*'stars' is 'five'.*whole numbers"):
        connector.push([Record("bad", {"text": "t"}, {"stars": "five"})])


def test_a_push_again_adds_only_what_is_missing_and_touches_nothing(
    argilla_dataset: Make, api: Api, monkeypatch: pytest.MonkeyPatch
):
    connector = argilla_dataset()
    ids = connector.push(numbered(6))
    before = api("GET", f"/datasets/{connector.project.id}/records?limit=100")["items"]
    changed = [Record(record.uid, {"text": "another text"}) for record in numbered(6)]
    assert connector.push([*changed, *numbered(9, first=6)]).items() >= ids.items()
    monkeypatch.setattr(rows, "LOOK_UP", 2)  # many uids are found by listing the dataset instead
    assert connector.push(numbered(9)).items() >= ids.items()
    after = api("GET", f"/datasets/{connector.project.id}/records?limit=100")["items"]
    assert after[:6] == before
    assert len(after) == 9


def test_progress_is_told_and_batches_are_bounded(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "BATCH", 4)
    monkeypatch.setattr(rows, "PAGE", 3)
    connector = argilla_dataset()
    told: list[tuple[int, int]] = []
    connector.push(numbered(10), lambda done, total: told.append((done, total)))
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]
    monkeypatch.setattr(rows, "BATCH_BYTES", 100)
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
    request = httpx.Client.request
    lost: list[Any] = []

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
    assert caught.value.refused.keys() == {"bad"}
    assert caught.value.found == {item.record.uid: item.remote_id for item in connector.records()}
    assert {item.record.uid for item in connector.records()} == {record.uid for record in numbered(30)}


def test_a_push_of_nothing_but_refused_records_gives_up(
    argilla_dataset: Make, api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk, "REFUSALS", 3)
    connector = argilla_dataset()
    split = {"name": "split", "title": "split", "settings": {"type": "terms", "values": ["train", "test"]}}
    api("POST", f"/datasets/{connector.project.id}/metadata-properties", split)
    with pytest.raises(RecordsRejected, match=r"3 of 20 .* 17 were not tried"):
        connector.push([Record(f"u{number}", {"text": "x"}, {"split": "dev"}) for number in range(20)])


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
    assert connector.missing(ids) == ()
    api("DELETE", f"/datasets/{connector.project.id}/records?ids={ids[2]},{ids[7]}")
    assert sorted(connector.missing(ids)) == sorted([ids[2], ids[7]])
    assert connector.missing([]) == ()


def test_a_record_that_only_the_search_has_lost_is_not_deleted(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    connector = argilla_dataset()
    ids = list(connector.push(numbered(3)).values())
    monkeypatch.setattr(rows.Rows, "_searched", lambda *_: ([], 0))
    assert connector.missing(ids[:2]) == ()


def test_thousands_of_records(argilla_dataset: Make, crew: Any):
    connector = argilla_dataset()
    many = count(2_000, long=10_000)
    records = numbered(many)
    ids = connector.push(records)
    assert connector.push(records) == ids
    assert {item.record.uid: item.remote_id for item in connector.records()} == ids
    assert connector.missing(ids.values()) == ()
    given = crew(connector)[0].submit(ids[f"u{many - 1}"], "sport")
    found = connector.changes(None)
    assert [(one.id, one.remote_id) for one in found.annotations] == [(given.id, ids[f"u{many - 1}"])]
    assert isinstance(found.annotations[0], Annotation)
