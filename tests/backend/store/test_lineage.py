"""Models and queue generations."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.store import Store
from nextlabel.connectors.errors import StoreError


def test_models_come_newest_first_with_what_was_noted(store: Store) -> None:
    assert store.models() == []
    assert store.current_model() is None
    store.add_model(
        "m1", kind="probe", log_seq=3, metrics={"accuracy": 0.5, "by class": {"a": 1}}, path="m1.safetensors"
    )
    store.add_model("m2", kind="probe", log_seq=7, metrics={}, path="m2.safetensors")
    newest, oldest = store.models()
    assert (newest.version, newest.log_seq, newest.path) == ("m2", 7, "m2.safetensors")
    assert (oldest.version, oldest.kind, oldest.metrics) == ("m1", "probe", {"accuracy": 0.5, "by class": {"a": 1}})
    assert oldest.created_at <= newest.created_at


def test_the_newest_models_of_a_kind(store: Store) -> None:
    for number in range(5):
        store.add_model(f"p{number}", "probe", number, {}, "")
        store.add_model(f"t{number}", "fine-tune", number, {}, "", in_use=number == 3)
    assert [row.version for row in store.models(3)] == ["t4", "p4", "t3"]
    assert [row.version for row in store.models(2, "probe")] == ["p4", "p3"]
    current = store.current_model()
    assert current is not None
    assert current.version == "t3"


def test_a_training_repeated_after_a_crash_replaces_its_model(store: Store) -> None:
    store.add_model("m1", kind="probe", log_seq=3, metrics={"accuracy": 0.5}, path="a")
    store.add_model("m1", kind="probe", log_seq=3, metrics={"accuracy": 0.6}, path="b")
    (model,) = store.models()
    assert (model.metrics, model.path) == ({"accuracy": 0.6}, "b")


def test_any_known_model_can_be_put_into_use(path: Path) -> None:
    with Store.open(path) as store:
        for version in ("m1", "m2"):
            store.add_model(version, kind="probe", log_seq=1, metrics={}, path=version)
        store.set_current("m2")
        store.set_current("m1")
        with pytest.raises(StoreError, match="no model m3"):
            store.set_current("m3")
    with Store.open(path) as store:
        current = store.current_model()
        assert current is not None
        assert current.version == "m1"


def test_generations_are_numbered_and_named_after_the_store(store: Store) -> None:
    first = store.plan_generation(log_seq=5, model_version="m1", size=50)
    second = store.plan_generation(log_seq=6, model_version="m2", size=60)
    assert (first.number, second.number) == (1, 2)
    assert first.version == f"nl-{store.instance}-1"
    assert (second.log_seq, second.model_version, second.size) == (6, "m2", 60)
    assert first.published_at is None
    assert store.generation_of(second.version) == second
    assert store.generation_of("somebody else's") is None


def test_the_newest_published_generation_is_in_force(store: Store) -> None:
    assert store.latest_generation() is None
    one, two, three = (store.plan_generation(log_seq=n, model_version="m", size=1) for n in range(3))
    assert store.latest_generation() is None
    store.mark_published(one.number)
    store.mark_published(two.number)
    latest = store.latest_generation()
    assert latest is not None
    assert (latest.number, latest.retired_at) == (2, None)
    assert latest.published_at is not None
    assert [row.number for row in store.unretired()] == [1, 2, 3], "a plan may have left rows on the platform"
    store.mark_retired(one.version)
    store.mark_retired(three.version)
    assert [row.number for row in store.unretired()] == [2]


def test_marks_are_made_once(store: Store) -> None:
    row = store.plan_generation(log_seq=1, model_version="m", size=1)
    store.mark_published(row.number)
    before = store.latest_generation()
    store.mark_published(row.number)
    assert store.latest_generation() == before
    store.mark_retired(row.version)
    assert store.latest_generation() is None


def test_marking_an_unplanned_generation_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no generation 9"):
        store.mark_published(9)
    with pytest.raises(StoreError, match="no generation nl-x-1"):
        store.mark_retired("nl-x-1")


def test_numbers_are_never_used_again(path: Path) -> None:
    with Store.open(path) as store:
        version = store.plan_generation(log_seq=1, model_version="m", size=1).version
        store.mark_retired(version)
    with Store.open(path) as store:
        assert store.plan_generation(log_seq=1, model_version="m", size=1).number == 2
