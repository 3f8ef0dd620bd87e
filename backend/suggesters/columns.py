"""Predictions that stand in the data, beside the texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nextlabel.backend.questions import ASSUMED, Proposal
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Record

from .base import NOTHING

Predicted = Mapping[str, tuple[str, str]]
"""Uid -> what stands in the column of labels, and in that of probabilities."""


def of_column(
    column: str, probability: str, known: Predicted
) -> tuple[Callable[[Sequence[Record]], list[Proposal]], tuple[str, ...] | None]:
    """What the data say of records, and the labels in them; of records that the data lack, their own metadata says.

    Raises ConfigError for a probability that is none.
    """
    for uid, (_, sure) in known.items():
        _number(sure, probability, uid)

    def about(records: Sequence[Record]) -> list[Proposal]:
        return [_proposal(column, probability, record, known) for record in records]

    return about, tuple(sorted({label.strip() for label, _ in known.values()} - {""})) or None


def _proposal(column: str, probability: str, record: Record, known: Predicted) -> Proposal:
    beside = record.metadata
    label, sure = known.get(record.uid) or (str(beside.get(column) or ""), str(beside.get(probability) or ""))
    if not label.strip():
        return NOTHING
    return Proposal({label.strip(): _number(sure, probability, record.uid)})


def _number(written: str, column: str, uid: str) -> float:
    if not written.strip():
        return ASSUMED
    try:
        found = float(written)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise ConfigError(
            f"suggest_from: the column {column!r} holds {written!r} for the record {uid!r}; a probability from 0 to 1 "
            "is expected"
        )
    return max(found, 1e-3)
