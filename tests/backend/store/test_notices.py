"""What is told to people: once a key, as long as it is so."""

from __future__ import annotations

from nextlabel.backend.store import Notice, Store
from nextlabel.connectors.records import Changes, Unreadable


def test_what_is_told_twice_is_told_once_in_its_newest_words(store: Store) -> None:
    store.notify(Notice("a", "record", "it is odd", "mend it", "r-1"), Notice("b", "labels", "one is new"))
    [first] = [one for one in store.notices() if one.key == "a"]
    store.notify(Notice("a", "record", "it is odder"))
    [again] = [one for one in store.notices() if one.key == "a"]
    assert (again.message, again.fix, again.since) == ("it is odder", "", first.since)
    assert store.notice_counts() == {"labels": 1, "record": 1}
    assert len(store.notices(limit=1)) == 1


def test_a_notice_is_taken_away_by_its_key_or_its_record(store: Store) -> None:
    store.notify(*(Notice(key, "record", "odd", remote_id=f"r-{key}") for key in "abc"))
    store.dismiss(["a", "never told"])
    store.dismiss(records=["r-b"])
    assert [one.key for one in store.notices()] == ["c"]


def test_notices_survive_a_restart(target: str) -> None:
    with Store.open(target) as store:
        store.notify(Notice("a", "record", "it is odd"))
    with Store.open(target) as store:
        assert [one.message for one in store.notices()] == ["it is odd"]


def test_no_reading_takes_away_what_another_kind_tells(store: Store) -> None:
    store.notify(Notice("a", "record", "it is odd", remote_id="r-1"))
    store.set_aside(Changes(complete={"r-1": frozenset()}, unreadable=(Unreadable("7", "r-1", "ann", "odd", "mend"),)))
    store.set_aside(Changes(complete={"r-1": frozenset()}))
    assert [one.kind for one in store.notices()] == ["record"]
