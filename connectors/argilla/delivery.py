"""Writing places and suggestions to records while people answer them.

Argilla replaces a record's metadata as a whole, so rows are read before they are written, and what did not change is
not sent. It also puts every record that we change into its search index as it was read a moment before: an answer given
in that moment is in the database, but not in the index, and the record would be offered to the same person again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import structlog

from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import placed
from nextlabel.connectors.argilla.rows import BATCH, Rows
from nextlabel.connectors.records import Annotation

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Moves = Mapping[str, Mapping[str, int | None]]
"""Record -> metadata property -> new number, or None to take it away."""

TOP = 50
"""Records sent first, so that the head of the queue stands before the rest is on its way."""
SAME_SCORE = 0.05
"""Scores that differ by less are not sent again: the page shows one decimal."""
REMEMBERED = 5000
"""Writes whose times are remembered."""
SKEW_S = 5.0
"""How far the server's time may be from what we take it for, and how long its index may take."""


class Delivery:
    """What is sent to the records of one dataset. One thread sends; any may call :meth:`note`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._written: dict[str, tuple[float, float]] = {}  # record -> when its last write began and ended
        self._doubtful: set[str] = set()

    def note(self, annotations: Iterable[Annotation]) -> None:
        """Hear of answers: those given while their record was written are sent for once more, to be indexed anew."""
        for one in annotations:
            began, ended = self._written.get(one.remote_id, (0.0, 0.0))
            if began - SKEW_S <= one.updated_at.timestamp() <= ended + SKEW_S:
                self._doubtful.add(one.remote_id)

    def send(
        self, moves: Moves, suggestions: Mapping[str, Json | None], held: Collection[str], form: Form
    ) -> Iterator[list[str]]:
        """Send what changed, those with ``suggestions`` first and in their order; yield the records of each batch sent.

        A suggestion of None shows the record blind. What is ``held`` by a page keeps the suggestion that it shows.
        Records that somebody has in hand are left alone. Raises RecordsRejected or PlatformUnavailable.
        """
        doubtful = set(self._doubtful)
        ids = list(dict.fromkeys([*suggestions, *moves, *doubtful]))
        sent = 0
        for start, end in _cuts(len(ids)):
            rows = self._rows.fetch(ids[start:end])
            items = []
            for row in (rows[record] for record in ids[start:end] if record in rows):
                free = _is_free(row)
                changes = _changed(row, moves.get(row["id"], {})) if free else {}
                if free and row["id"] in suggestions and row["id"] not in held:
                    changes |= self._suggestion(row, suggestions[row["id"]], form)
                if row["id"] in doubtful and not changes:
                    changes = {"metadata": row["metadata"] or {}}
                if changes:
                    items.append({"id": row["id"], **changes})
            if items:
                yield self._upsert(items, doubtful)
            sent += len(items)
        self._doubtful -= doubtful
        log.debug("queue sent", records=len(ids), changed=sent, again=len(doubtful))

    def _upsert(self, items: Sequence[Json], doubtful: Collection[str]) -> list[str]:
        began = self._rows.now().timestamp()
        written = [str(item["id"]) for item in items]
        self._remember(written, (began, math.inf))
        self._rows.upsert(items)
        self._remember(written, (began, self._rows.now().timestamp()))
        for record in doubtful:  # what was written now was read with the answer that we doubted
            self._written.pop(record, None)
        return written

    def _remember(self, records: Iterable[str], window: tuple[float, float]) -> None:
        for record in records:
            self._written.pop(record, None)  # the newest stand last
            self._written[record] = window
        while len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]

    def _suggestion(self, row: Json, suggestion: Json | None, form: Form) -> Json:
        """The suggestion to send, if it is not there already. None takes away what would be pre-selected."""
        wanted = placed(form, suggestion, row["fields"])
        shown = [one for one in row.get("suggestions") or () if one["question_id"] == form.question_id]
        if wanted is None:
            if shown:
                self._rows.delete_suggestions(row["id"], [one["id"] for one in shown])
            return {}
        same = any(one["value"] == wanted["value"] and _close(one["score"], wanted["score"]) for one in shown)
        return {} if same else {"suggestions": [wanted]}


def _changed(row: Json, places: Mapping[str, int | None]) -> Json:
    """The metadata to send, whole; nothing if it is the same."""
    before = row["metadata"] or {}
    after = {name: value for name, value in before.items() if name not in places}
    after |= {name: number for name, number in places.items() if number is not None}
    return {} if after == before else {"metadata": after}


def _cuts(length: int) -> list[tuple[int, int]]:
    """Where to cut what is sent: a small batch for the top of the queue, then the largest possible."""
    edges = [0, *range(TOP, length, BATCH), length]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def _is_free(row: Json) -> bool:
    """Whether the record may be changed: it waits, nobody saved a draft of it, and the server can store it.

    It can't where somebody discarded it without values, which is an error of Argilla's own: then the whole batch would
    fail.
    """
    responses = row.get("responses") or ()
    return row["status"] == "pending" and not any(
        one["status"] == "draft" or one["values"] is None for one in responses
    )


def _close(one: float | list[float] | None, other: float | list[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    first, second = (value if isinstance(value, list) else [value] for value in (one, other))
    return len(first) == len(second) and all(abs(a - b) < SAME_SCORE for a, b in zip(first, second, strict=True))
