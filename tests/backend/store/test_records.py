"""Records: added once, in order, found again, and never changed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.store import Added, Store, identity
from nextlabel.connectors.errors import StoreError
from nextlabel.connectors.records import Record, RemoteRecord

Make = Callable[..., list[Record]]


def test_positions_are_dense_and_in_order_of_adding(store: Store, make_records: Make) -> None:
    assert store.add_records(make_records(1500)) == Added(new=1500)
    assert store.add_records(make_records(700, start=1000)) == Added(new=200, known=500)
    stored = list(store.records())
    assert [item.position for item in stored] == list(range(1700))
    assert [item.record for item in stored] == make_records(1700)
    assert [item.position for item in store.records(after=1694)] == list(range(1695, 1700))
    assert store.size() == 1700


def test_positions_survive_a_restart(path: Path, make_records: Make) -> None:
    with Store.open(path) as store:
        store.add_records(make_records(5))
    with Store.open(path) as store:
        store.add_records(make_records(5, start=5))
        assert [item.record.uid for item in store.at([7, 0, 99])] == ["u7", "u0"]


def test_equal_content_is_a_duplicate_of_the_first(store: Store) -> None:
    same = {"text": "same"}
    first = store.add_records([Record("a", same), Record("b", {"text": "other"}), Record("c", same)])
    second = store.add_records([Record("d", same, {"new": "metadata"})])
    assert (first, second) == (Added(new=3, duplicates=1), Added(new=1, duplicates=1))
    assert [item.duplicate_of for item in store.records()] == [None, None, "a", "a"]
    assert len({item.lot for item in store.get(["a", "c", "d"])}) == 1
    assert [record.uid for record in store.unpushed(10)] == ["a", "b"]


def test_a_known_uid_with_other_fields_is_counted_and_kept_as_it_was(store: Store) -> None:
    store.add_records([Record("a", {"text": "old"})])
    added = store.add_records([Record("a", {"text": "new"}), Record("b", {"text": "x"}), Record("b", {"text": "y"})])
    assert added == Added(new=1, changed=2)
    assert [item.record.fields["text"] for item in store.get(["a", "b"])] == ["old", "x"]


@pytest.mark.parametrize(
    "text",
    ["", "x" * 100_000, "emoji 👩🏽‍🚀", "עברית מימין לשמאל", "nul \x00 inside", "lone \ud800 surrogate", "'); DROP"],
)
def test_any_text_comes_back_as_it_was(store: Store, text: str) -> None:
    record = Record("uid", {"text": text, "": text}, {"nested": {"a": [1, None, text]}})
    store.add_records([record])
    assert store.get(["uid"])[0].record == record
    assert store.add_records([record]) == Added(known=1)


def test_a_uid_that_cannot_be_stored_names_the_cause(store: Store) -> None:
    with pytest.raises(StoreError, match="change the id"):
        store.add_records([Record("bad \ud800", {"text": "x"})])


def test_remote_ids_are_noted_and_pushed_records_are_no_longer_unpushed(store: Store, make_records: Make) -> None:
    store.add_records(make_records(5))
    assert store.set_remote({"u1": "101", "u3": "103", "unknown": "9"}) == 2
    assert store.set_remote({"u1": "101"}) == 1
    assert [record.uid for record in store.unpushed(2)] == ["u0", "u2"]
    assert {key: item.record.uid for key, item in store.get_remote(["103", "9", "101"]).items()} == {
        "101": "u1",
        "103": "u3",
    }
    assert sorted(store.remote_ids()) == ["101", "103"]


def test_a_listed_record_is_never_without_the_id_that_it_has_on_the_platform(
    store: Store, make_records: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop pushes whatever has none: between two steps it would push a record of others once more."""
    listed = [RemoteRecord(f"r{record.uid}", record) for record in make_records(3)]
    store.add_records(make_records(1))
    with monkeypatch.context() as broken:
        broken.setattr(identity, "set_remote", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.add_listed(listed)
    assert store.size() == 1
    store.add_listed(listed)
    store.add_listed(listed)
    assert store.size() == 3
    assert store.unpushed(10) == []
    assert set(store.get_remote(["ru0", "ru1", "ru2"])) == {"ru0", "ru1", "ru2"}


def test_gone_records_stay_but_are_marked(store: Store, make_records: Make) -> None:
    store.add_records(make_records(3))
    store.set_remote({"u0": "10", "u1": "11"})
    assert store.mark_gone(["10", "77"]) == 2
    assert store.mark_gone(["10"]) == 0
    store.set_remote({"u2": "77"})  # the deletion was heard of before the push came back
    assert [item.gone for item in store.records()] == [True, False, True]
    assert store.remote_ids() == ["11"]
    assert store.mark_back(["10", "11"]) == 1
    assert [item.gone for item in store.records()] == [False, False, True]
    assert store.mark_gone(["10"]) == 1


def test_lots_are_uniform_and_fixed_by_the_seed(tmp_path: Path, make_records: Make) -> None:
    def sampling_keys(name: str, seed: int) -> list[float]:
        with Store.open(tmp_path / name, seed=seed) as store:
            store.add_records(make_records(4000))
            return [item.lot for item in store.records()]

    one, again, other = sampling_keys("a.db", 1), sampling_keys("b.db", 1), sampling_keys("c.db", 2)
    assert one == again != other
    assert all(0.0 <= value < 1.0 for value in one)
    for tenth in range(10):  # 400 expected a bin; 5 standard deviations are 95
        assert abs(sum(int(value * 10) == tenth for value in one) - 400) < 95


def test_the_audit_slice_is_fixed_by_the_first_threshold(store: Store, make_records: Make) -> None:
    store.add_records(make_records(1000))
    assert not any(item.audit for item in store.records())
    assert store.set_audit_threshold(0.2) == 0.2
    audit = {item.record.uid for item in store.records() if item.audit}
    assert {item.record.uid for item in store.records() if item.lot < 0.2} == audit
    assert 130 < len(audit) < 270
    assert store.set_audit_threshold(0.5) == 0.2
    assert {item.record.uid for item in store.records() if item.audit} == audit
    with pytest.raises(ValueError, match=r"1\.5"):
        store.set_audit_threshold(1.5)


def test_which_side_a_uid_falls_on_is_known_before_it_is_stored(store: Store, make_records: Make) -> None:
    store.set_audit_threshold(0.3)
    records = make_records(200)
    store.add_records(records[:100])
    asked = [(record.uid, "") for record in records]
    before = store.blind(asked)
    store.add_records(records[100:])
    assert before == store.blind(asked) == {(item.record.uid, "") for item in store.records() if item.audit}
    assert 0 < len(before) < 200


def test_adding_many_records_takes_bounded_memory(store: Store) -> None:
    def stream(count: int) -> Added:
        return store.add_records(Record(f"{count}-{i}", {"text": f"{i} " + "x" * 500}) for i in range(count))

    stream(3000)
    tracemalloc.start()
    try:
        stream(3000)
        small = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert stream(15_000).new == 15_000
        assert tracemalloc.get_traced_memory()[1] < small * 1.5
    finally:
        tracemalloc.stop()


def test_counts(store: Store, make_records: Make) -> None:
    store.add_records([*make_records(4), Record("copy", {"text": "text 0"})])
    store.set_remote({"u0": "10", "u1": "11"})
    store.mark_gone(["11"])
    counts = store.counts()
    assert (counts.records, counts.duplicates, counts.pushed, counts.gone) == (5, 1, 2, 1)


def test_opinions_only_grow_and_are_kept(store: Store, path: Path, make_records: Callable[..., list[Record]]) -> None:
    store.add_records(make_records(3))
    assert [item.opinions for item in store.records()] == [0, 0, 0]
    store.ask_again(["u0", "u1", "unknown"], 3)
    store.ask_again(["u1", "u2"], 2)
    with Store.open(path) as again:
        assert [item.opinions for item in again.records()] == [3, 3, 2]


def test_what_was_suggested_is_kept(store: Store, path: Path, make_records: Callable[..., list[Record]]) -> None:
    store.add_records(make_records(3))
    store.mark_suggested([0, 2])
    with Store.open(path) as again:
        assert [item.suggested for item in again.records()] == [True, False, True]
