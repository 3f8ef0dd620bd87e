"""Answers given while their record was written are sent for once more, whatever our clock says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.delivery import SKEW_S, Delivery
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind

FORM = Form(Labeling(LabelKind.SINGLE, ("sport", "politics")), "label", "question")
SECOND = timedelta(seconds=1)


class Rows:
    """One record on a server of another time: each write takes two seconds there."""

    def __init__(self, time: datetime) -> None:
        self.time = time
        self.unshown: dict[str, str] = {}
        self.sent: list[list[str]] = []
        self.row: dict[str, Any] = {"id": "r", "status": "pending", "metadata": {}, "responses": []}

    def now(self) -> datetime:
        return self.time

    def fetch(self, ids: Sequence[str]) -> dict[str, Any]:
        return dict.fromkeys(ids, self.row)

    def upsert(self, items: Sequence[dict[str, Any]]) -> None:
        self.time += 2 * SECOND
        self.sent.append([item["id"] for item in items])
        for item in items:
            self.row |= item


@pytest.mark.parametrize("wrong", [timedelta(0), timedelta(hours=1), timedelta(days=-400)])
@pytest.mark.parametrize(("given", "again"), [(1.0, True), (-SKEW_S - 1, False), (2 + SKEW_S + 1, False)])
def test_given_while_it_was_written(wrong: timedelta, given: float, again: bool) -> None:
    began = datetime.now(UTC) + wrong
    rows = Rows(began)
    delivery = Delivery(rows)  # type: ignore[arg-type]
    list(delivery.send({"r": {"lane": 7}}, {}, (), FORM, ()))
    answered = began + given * SECOND
    delivery.note([Annotation("a", "r", "ann", ("sport",), AnnotationStatus.SUBMITTED, answered)])
    rows.sent.clear()
    list(delivery.send({}, {}, (), FORM, ()))
    assert rows.sent == ([["r"]] if again else [])
