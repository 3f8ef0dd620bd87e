"""Who a record is: what the platform lists and what the data has are told to be the same, in either order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.store import Added, Rule, Store
from nextlabel.connectors.records import Annotation, Changes, Record, RemoteRecord

RULE = Rule(("text",), "doc")


def row(uid: str, text: str = "") -> Record:
    return Record(uid, {"text": text or f"text of {uid}"})


def listed(remote_id: str, text: str, uid: str = "", **more: str) -> RemoteRecord:
    """What others put there: it has a uid made of its remote id."""
    return RemoteRecord(remote_id, Record(uid or f"theirs-{remote_id}", {"text": text}), more)


def whereabouts(store: Store) -> dict[str, str | None]:
    return {item.record.uid: item.remote_id for item in store.records()}


@pytest.mark.parametrize("first", ["data", "platform"])
@pytest.mark.parametrize(
    "here",
    [
        listed("7", "text of a"),
        listed("7", "corrected there", uid="a"),
        listed("7", "corrected there", doc="a"),
    ],
    ids=["content", "uid", "id under the key of the data"],
)
def test_a_record_is_taken_up_whichever_is_known_first(
    store: Store, path: Path, first: str, here: RemoteRecord
) -> None:
    data = [row("a"), row("b")]
    for _ in range(2):  # as before a restart, as after it
        for side in ("data", "platform") if first == "data" else ("platform", "data"):
            if side == "data":
                store.add_records(data)
            else:
                store.add_listed([here], RULE)
    assert store.size() == 2
    assert [record.uid for record in store.unpushed(9)] == ["b"]
    assert set(whereabouts(store).values()) == {"7", None}
    with Store.open(path) as again:
        assert again.add_records(data).new == 0


def test_each_copy_takes_up_one_and_what_is_left_is_a_record_of_its_own(store: Store) -> None:
    store.add_records([row("a", "same"), row("b", "same"), row("c", "other")])
    store.add_listed([listed("1", "same"), listed("2", "same"), listed("3", "same")], RULE)
    assert whereabouts(store) == {"a": "1", "b": "2", "c": None, "theirs-3": "3"}
    assert [item.is_copy for item in store.records()] == [False] * 4
    assert len({item.lot for item in store.get(["a", "b", "theirs-3"])}) == 1


def test_of_copies_the_one_that_is_called_so_is_taken(store: Store) -> None:
    store.add_listed([listed("1", "same"), listed("2", "same")], RULE)
    assert store.add_records([row("2", "same"), row("1", "same"), row("3", "same")]) == Added(1, 1, 2)
    store.add_records([row("2", "same")])
    assert whereabouts(store) == {"theirs-1": "1", "theirs-2": "2", "3": None}
    assert store.unpushed(9) == [], "a copy in the data alone is pushed no more than before"


def test_what_is_imported_by_hand_meanwhile_is_not_pushed(store: Store) -> None:
    store.add_listed([], RULE)
    store.add_records([row("a"), row("b")])
    store.add_listed([listed("9", "text of b")], RULE)
    assert [record.uid for record in store.unpushed(9)] == ["a"]
    assert store.set_remote({"a": "10"}) == 1
    store.add_listed([listed("11", "text of a")], RULE)  # the data had been pushed by then
    assert whereabouts(store) == {"a": "10", "b": "9", "theirs-11": "11"}


def test_a_record_that_is_there_twice_under_one_uid_is_two(store: Store) -> None:
    store.add_listed([listed("1", "x", uid="a"), listed("2", "x", uid="a")], RULE)
    assert whereabouts(store) == {"a": "1", "a~2": "2"}
    assert store.elsewhere([listed("3", "x", uid="a"), listed("1", "x", uid="a")]) == ["1"]
    store.mark_gone(["1"])
    store.add_listed([listed("3", "x", uid="a")], RULE)
    assert whereabouts(store) == {"a": "3", "a~2": "2"}, "deleted, and imported again"
    assert not store.get(["a"])[0].gone


def test_what_is_shown_besides_tells_records_apart(store: Store) -> None:
    """Fields that the data lacks, or that can't be read."""
    for number, (title, unread) in enumerate([("one", ""), ("two", ""), ("one", "a chat"), ("one", "")]):
        record = Record(f"t{number}", {"text": "same", "title": title})
        store.add_listed([RemoteRecord(str(number), record, unread=unread)], RULE)
    assert [item.duplicate_of for item in store.records()] == [None, None, None, "t0"]
    store.add_records([row("a", "same")])
    assert store.unpushed(9) == []


# -- the audit slice ---------------------------------------------------------------------------------------------------


Answer = Callable[..., Annotation]


def answered(answer: Answer, remote_ids: range) -> Changes:
    return Changes(tuple(answer(f"a{number}", str(number)) for number in remote_ids))


def many(numbers: range) -> list[RemoteRecord]:
    return [listed(str(number), f"text {number}") for number in numbers]


def test_who_was_answered_before_we_came_is_not_shown_blind(store: Store, answer: Answer) -> None:
    store.append(answered(answer, range(300)))
    store.add_listed(many(range(600)), RULE)
    store.draw_audit(0.1, 500)
    audit = {int(item.remote_id or -1) for item in store.records() if item.audit}
    assert audit
    assert min(audit) >= 300
    assert not any(item.held_out for item in store.records())
    store.append(answered(answer, range(300, 600)))
    store.draw_audit(0.5, 500)
    assert {int(item.remote_id or -1) for item in store.records() if item.audit} == audit
    store.append(answered(answer, range(600, 1000)))
    store.add_listed(many(range(600, 1200)), RULE)
    later = {int(item.remote_id or -1) for item in store.records() if item.audit} - audit
    assert later
    assert min(later) >= 1000, "imported with their answers"


def test_where_all_is_answered_some_answers_are_held_out(store: Store, answer: Answer) -> None:
    store.append(answered(answer, range(600)))
    store.add_listed(many(range(600)), RULE)
    store.draw_audit(0.1, 500)
    held = [item for item in store.records() if item.held_out]
    assert 30 < len(held) < 90
    assert not any(item.audit for item in store.records())
    store.add_listed(many(range(600, 1200)), RULE)
    sides = {(item.audit, item.held_out) for item in store.records() if int(item.remote_id or 0) >= 600}
    assert sides == {(True, False), (False, False)}, "what comes later is open, and shown blind"
    assert [item for item in store.records() if item.held_out] == held


def test_too_few_answers_are_all_learned(store: Store, answer: Answer) -> None:
    store.append(answered(answer, range(60)))
    store.add_listed(many(range(60)), RULE)
    store.draw_audit(0.1, 500)
    assert not any(item.held_out or item.audit for item in store.records())


def test_what_was_learned_from_or_suggested_is_never_of_the_slice(store: Store, answer: Answer) -> None:
    """A store from before: records were answered and suggested for without a slice."""
    store.add_listed(many(range(600)), RULE)
    store.append(answered(answer, range(200)))
    store.mark_suggested(range(200, 400))
    store.add_model("probe-1", "probe", 1, {}, "nowhere")
    store.draw_audit(0.2, 500)
    audit = {int(item.remote_id or -1) for item in store.records() if item.audit}
    assert audit
    assert min(audit) >= 400
    assert not any(item.held_out for item in store.records())


def test_copies_are_on_one_side(store: Store, answer: Answer) -> None:
    store.append(answered(answer, range(300, 400)))
    store.add_listed([listed(str(number), f"text {number % 300}") for number in range(600)], RULE)
    store.draw_audit(0.5, 500)
    sides: dict[str, set[bool]] = {}
    for item in store.records():
        sides.setdefault(item.record.fields["text"], set()).add(item.audit)
    assert all(len(side) == 1 for side in sides.values())
    assert all(sides[f"text {number}"] == {False} for number in range(100)), "one of the copies was answered before"
    assert any(True in side for side in sides.values())


def test_a_record_is_blind_under_each_of_its_names(store: Store) -> None:
    store.add_records([row(f"u{number}") for number in range(50)])
    store.draw_audit(0.5, 500)
    store.add_listed([listed(str(number), f"text of u{number}", doc=f"d{number}") for number in range(50)], RULE)
    audit = {int(item.remote_id or -1) for item in store.records() if item.audit}
    assert 0 < len(audit) < 50
    for name in ("u{}", "theirs-{}", "d{}"):
        asked = [(name.format(number), "") for number in range(50)]
        assert store.blind(asked) == {asked[number] for number in audit}


def test_a_record_that_is_not_known_yet_stands_where_its_text_does(store: Store) -> None:
    """Somebody imports the file by hand, and an annotator opens a record before we have read it."""
    data = [row(f"u{number}") for number in range(50)]
    store.add_records(data)
    store.draw_audit(0.5, 500)
    audit = {item.record.uid for item in store.records() if item.audit}
    asked = {record.uid: (f"theirs-{record.uid}", RULE.content(record)) for record in data}
    assert store.blind(asked.values()) == {asked[uid] for uid in audit}


def test_records_that_are_called_the_same_stand_where_their_texts_do(store: Store) -> None:
    """Somebody asks about texts without ids: each is a record of its own."""
    store.add_records([row(f"u{number}") for number in range(50)])
    store.draw_audit(0.5, 500)
    audit = {item.record.uid for item in store.records() if item.audit}
    asked = {f"u{number}": ("0", RULE.content(row(f"u{number}"))) for number in range(50)}
    assert store.blind(asked.values()) == {asked[uid] for uid in audit}
    assert 0 < len(audit) < 50


def test_what_another_process_has_stored_decides_at_once(store: Store, path: Path) -> None:
    data = [row(f"u{number}") for number in range(50)]
    asked = {record.uid: (f"theirs-{record.uid}", RULE.content(record)) for record in data}
    with Store.open(path) as other:
        assert store.blind(asked.values()) == set()
        other.add_records(data)
        other.draw_audit(0.5, 500)
        audit = {item.record.uid for item in other.records() if item.audit}
        assert store.blind(asked.values()) == {asked[uid] for uid in audit}
    assert 0 < len(audit) < 50
