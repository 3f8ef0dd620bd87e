"""Settings and cursors."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.store import Store
from nextlabel.connectors.errors import StoreError


def test_settings_and_cursors_are_kept(path: Path) -> None:
    with Store.open(path) as store:
        assert store.get_meta("a") is None
        assert store.get_cursor("a") is None
        store.set_meta("a", "1")
        store.set_cursor("a", "2")
        store.set_meta("a", "3")
        store.set_cursor("a", "")
    with Store.open(path) as store:
        assert (store.get_meta("a"), store.get_cursor("a")) == ("3", "")


def test_the_instance_is_drawn_once(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        instance = store.instance
    with Store.open(path) as store, Store.open(tmp_path / "other.db") as other:
        assert store.instance == instance
        assert len(instance) == 6
        assert other.instance != instance


def test_of_two_claims_the_first_is_in_force(store: Store) -> None:
    assert store.claim_meta({"project": "7", "platform": "argilla"}) == {"project": "7", "platform": "argilla"}
    assert store.claim_meta({"project": "8", "title": "x"}) == {"project": "7", "title": "x"}
    assert (store.get_meta("project"), store.get_meta("title")) == ("7", "x")


def test_a_closed_store_says_so(path: Path) -> None:
    store = Store.open(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.head()
