"""The pool in memory follows the store."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from nextlabel.backend.loop.pool import PoolState
from nextlabel.backend.store import StoredRecord
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Record

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(position: int, **changes: object) -> StoredRecord:
    values: dict[str, object] = {
        "position": position,
        "record": Record(f"u{position}", {"text": "x"}),
        "remote_id": f"r{position}",
        "duplicate_of": None,
        "lot": position / 10,
        "audit": False,
        "gone": False,
    }
    return StoredRecord(**{**values, **changes})  # type: ignore[arg-type]


def answer(remote_id: str, *labels: str, status: AnnotationStatus = AnnotationStatus.SUBMITTED) -> Annotation:
    return Annotation(f"a-{remote_id}-{labels}", remote_id, "ann", labels, status, NOW)


@pytest.fixture
def pool() -> PoolState:
    state = PoolState(Labeling(LabelKind.SINGLE, ("cat", "dog")))
    items = [
        stored(0),
        stored(1, audit=True, lot=0.9),
        stored(2, audit=True, lot=0.1),
        stored(3, duplicate_of="u0", remote_id=None),
        stored(4, gone=True),
        stored(5, remote_id=None),
    ]
    state.add(items, np.arange(6))
    return state


def test_candidates_leave_out_audit_duplicates_and_the_deleted(pool: PoolState) -> None:
    assert pool.candidates().tolist() == [0, 5]
    assert pool.is_pushed(pool.candidates()).tolist() == [True, False]


def test_the_audit_slice_waits_in_the_order_of_its_lots(pool: PoolState) -> None:
    assert pool.audit_queue().tolist() == [2, 1]


def test_answers_move_records_and_taking_them_back_moves_them_back(pool: PoolState) -> None:
    assert pool.answer({"r0": [answer("r0", "dog")], "r1": [answer("r1", "cat")]}) == []
    assert pool.training().tolist() == [0]
    assert pool.targets(pool.training()).tolist() == [1]
    assert pool.audited().tolist() == [1]
    assert pool.candidates().tolist() == [5]
    assert pool.label_counts() == {"cat": 1, "dog": 1}
    pool.answer({"r0": []})
    assert pool.training().tolist() == []
    assert pool.candidates().tolist() == [0, 5]


def test_unknown_records_and_unknown_labels_are_reported(pool: PoolState) -> None:
    assert pool.answer({"stranger": [answer("stranger", "cat")], "r0": [answer("r0", "horse")]}) == ["stranger"]
    assert pool.unknown_labels == {"horse": 1}
    assert pool.training().tolist() == []
    assert 0 not in pool.candidates()  # answered all the same


def test_skipped_records_wait_behind_everything(pool: PoolState) -> None:
    pool.answer({"r0": [answer("r0", status=AnnotationStatus.SKIPPED)]})
    assert pool.candidates().tolist() == [5]
    assert pool.skipped().tolist() == [0]


def test_dropped_records_leave_and_later_records_join(pool: PoolState) -> None:
    before = pool.revision
    pool.drop(["r0", "never heard of"])
    assert pool.candidates().tolist() == [5]
    pool.add([stored(2000)], np.array([7]))
    assert pool.candidates().tolist() == [5, 2000]
    assert pool.rows[2000] == 7
    assert pool.revision > before
    assert len(pool) == 2001


def test_multi_label_targets_are_rows_of_flags() -> None:
    pool = PoolState(Labeling(LabelKind.MULTI, ("a", "b", "c")))
    pool.add([stored(0), stored(1)], np.arange(2))
    pool.answer({"r0": [answer("r0", "a", "c")], "r1": [answer("r1")]})
    assert pool.training().tolist() == [0, 1]  # "none of them" is an answer too
    assert pool.targets(pool.training()).tolist() == [[True, False, True], [False, False, False]]
