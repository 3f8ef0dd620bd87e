"""What suggesters say is kept by content, changed in place, and goes with the record that it is about."""

from __future__ import annotations

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Record


def test_what_is_said_is_kept_for_each_suggester(store: Store) -> None:
    store.note_proposals("one", {"a": [{"x": 0.5}, []], "b": None})
    store.note_proposals("two", {"a": None})
    store.note_proposals("one", {"b": [{"y": 1.0}, []]})
    store.note_proposals("one", {})
    assert store.proposals("one", ["a", "b", "c"]) == {"a": [{"x": 0.5}, []], "b": [{"y": 1.0}, []]}
    assert store.suggesters() == {"one", "two"}
    store.forget_proposals(["one"])
    assert store.proposals("one", ["a"]) == {}
    assert store.proposals("two", ["a"]) == {"a": None}


def test_what_is_said_of_an_erased_record_is_erased(store: Store) -> None:
    store.add_records([Record("u", {"text": "somebody"}), Record("v", {"text": "anybody"})])
    store.note_proposals("one", {one.encode().hex(): [{"x": 0.5}, []] for one in ("u", "v")})
    store.erase(["u"], lambda record: [record.uid.encode()])
    assert list(store.proposals("one", [b"u".hex(), b"v".hex()])) == [b"v".hex()]
