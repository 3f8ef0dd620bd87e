"""What is written to the records of a queue, while people answer them: no more than has changed, and never over them.

Argilla replaces a record's metadata as a whole, so rows are read before they are written, and what did not change is
not sent. It also puts every record that we change into its search index as it was read a moment before: an answer given
in that moment is in the database, but not in the index, and the record would be offered to the same person again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import structlog

from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.payloads import NOT_SHOWN, NOT_STORED, OURS, can_be_stored, is_ours, placed
from nextlabel.connectors.argilla.rows import BATCH, Rows
from nextlabel.connectors.basics import Json
from nextlabel.connectors.bulk import Narrowing
from nextlabel.connectors.errors import RecordsRejected
from nextlabel.connectors.records import Annotation

log = structlog.get_logger(__name__)

Moves = Mapping[str, Mapping[str, int | None]]
"""Record -> metadata property -> new number, or None to take it away."""

TOP = 50
"""Records sent first, so that the head of the queue stands before the rest is on its way."""
SAME_SCORE = 0.05
"""Scores that differ by less are not sent again: the page shows one decimal."""
REMEMBERED = 5000
"""Writes whose times are remembered."""
CLEARED = 100
"""Records that a lane is taken from at a time: a second of the server's."""
AGAIN_S = 600.0
"""Seconds until a record that Argilla refused is tried again though it did not change: its dataset may have."""
SKEW_S = 5.0
"""How far the server's time may be from what we take it for, and how long its index may take."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why Argilla did not take a record with this ``metadata``, and when it is tried again though nothing changed."""

    reason: str
    metadata: Json | None
    again_at: float


class Delivery:
    """What is sent to the records of one dataset. One thread sends; any may call :meth:`note`.

    ``replace_suggestions``: also those of other agents, before somebody has answered the record.
    """

    def __init__(self, rows: Rows) -> None:
        self.replace_suggestions = False
        self._rows = rows
        self._written: dict[str, tuple[float, float]] = {}  # record -> when its last write began and ended
        self._doubtful: set[str] = set()
        self._refused: dict[str, Refusal] = {}
        self._left_out: dict[str, str] = {}

    def note(self, annotations: Iterable[Annotation]) -> None:
        """Hear of answers: those given while their record was written are sent for once more, to be indexed anew."""
        for one in annotations:
            began, ended = self._written.get(one.remote_id, (0.0, 0.0))
            if began - SKEW_S <= one.updated_at.timestamp() <= ended + SKEW_S:
                self._doubtful.add(one.remote_id)

    def refused(self) -> dict[str, str]:
        """Record -> why, of those that got no place: what Argilla stored once it need not take, or show, now."""
        now = time.monotonic()
        refused = {record: one.reason for record, one in self._refused.items() if now < one.again_at}
        return self._left_out | refused

    def send(
        self,
        moves: Moves,
        suggestions: Mapping[str, Json | None],
        held: Collection[str],
        form: Form,
        lanes: Collection[str],
    ) -> Iterator[list[str]]:
        """Send what changed, those with ``suggestions`` first and in their order; yield the records of each batch sent.

        A suggestion of None shows the record blind. What is ``held`` by a page keeps the suggestion that it shows.
        Places in others than these ``lanes`` are taken away. Records that somebody has in hand are left alone, and
        those that Argilla refuses are set aside until they change. Raises RecordsRejected or PlatformUnavailable.
        """
        doubtful = set(self._doubtful)
        ids = list(dict.fromkeys([*suggestions, *moves, *doubtful]))
        sent = 0
        for start, end in _cuts(len(ids)):
            rows = self._rows.fetch(ids[start:end])
            self._note_left_out(ids[start:end], rows)
            here = [rows[record] for record in ids[start:end] if record in rows]
            items: dict[str, Json] = {}
            for row in (row for row in here if not self._is_set_aside(row)):
                free = _is_free(row)
                metadata = _placed(row, moves.get(row["id"], {}) if free else {}, lanes)
                changes: Json = {"metadata": metadata} if free and metadata != (row["metadata"] or {}) else {}
                if free and row["id"] in suggestions and row["id"] not in held:
                    changes |= self._suggestion(row, suggestions[row["id"]], form)
                if row["id"] in doubtful and not changes:
                    changes = {"metadata": metadata}
                if changes:
                    items[row["id"]] = {"id": row["id"], **changes}
            if items:
                yield self._upsert(items, rows, doubtful)
            sent += len(items)
        self._doubtful -= doubtful
        log.debug("queue sent", records=len(ids), changed=sent, again=len(doubtful))

    def clear(self, lane: str) -> bool:
        """Take the places in ``lane`` from some of the records that have one; whether no record is left that can be."""
        rows = self._rows.fetch(self._rows.placed(lane, CLEARED))
        metadata = {record: row["metadata"] or {} for record, row in rows.items()}
        items: dict[str, Json] = {
            record: {
                "id": record,
                "metadata": {name: value for name, value in metadata[record].items() if name != lane},
            }
            for record, row in rows.items()
            if can_be_stored(row) and not self._is_set_aside(row)
        }
        if items:
            self._upsert(items, rows, set())
        return not items

    def _note_left_out(self, records: Iterable[str], rows: Mapping[str, Json]) -> None:
        """Of these, remember those that get no place because Argilla can't show them, or can't store them."""
        for record in records:
            self._left_out.pop(record, None)
            if record in self._rows.unshown:
                self._left_out[record] = f"{self._rows.unshown[record]}. {NOT_SHOWN}"
            elif record in rows and not can_be_stored(rows[record]):
                self._left_out[record] = NOT_STORED

    def _is_set_aside(self, row: Json) -> bool:
        """Whether Argilla refused this record a while ago, and it is still as it was."""
        one = self._refused.get(row["id"])
        return one is not None and one.metadata == row["metadata"] and time.monotonic() < one.again_at

    def _upsert(self, items: Mapping[str, Json], rows: Mapping[str, Json], doubtful: set[str]) -> list[str]:
        """Send these items; return the records that were taken. Raises RecordsRejected if hardly any was."""
        taken: list[str] = []

        def write(part: Mapping[str, Json]) -> None:
            began = self._rows.now().timestamp()
            self._remember(part, (began, math.inf))
            self._rows.upsert(list(part.values()))
            self._remember(part, (began, self._rows.now().timestamp()))
            taken.extend(part)

        narrowing = Narrowing()
        narrowing.send(items, write)
        again_at = time.monotonic() + AGAIN_S
        self._refused = {record: one for record, one in self._refused.items() if record not in items}
        for record, reason in narrowing.refused.items():
            log.warning("Argilla refuses a record of the queue", record=record, reason=reason)
            self._refused[record] = Refusal(reason, rows[record]["metadata"], again_at)
        if len(taken) + len(narrowing.refused) < len(items):
            reason = next(iter(narrowing.refused.values()))
            raise RecordsRejected(
                f"Argilla refuses the places in the queue: {reason}", sent=len(items), stored=len(taken)
            )
        for record in doubtful & set(taken):  # what was written now was read with the answer that we doubted
            self._written.pop(record, None)
        return taken

    def _remember(self, records: Iterable[str], window: tuple[float, float]) -> None:
        for record in records:
            self._written.pop(record, None)  # the newest stand last
            self._written[record] = window
        while len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]

    def _suggestion(self, row: Json, suggestion: Json | None, form: Form) -> Json:
        """The suggestion to send, if it is not there already. None takes away what would be pre-selected.

        Argilla keeps one for a question: that of another agent stays until somebody has answered the record.
        """
        wanted = placed(form, suggestion, row["fields"])
        shown = [one for one in row.get("suggestions") or () if one["question_id"] == form.question_id]
        if not (self.replace_suggestions or _is_answered(row) or all(map(is_ours, shown))):
            return {}
        if wanted is None:
            if shown:
                self._rows.delete_suggestions(row["id"], [one["id"] for one in shown])
            return {}
        same = any(one["value"] == wanted["value"] and _close(one["score"], wanted["score"]) for one in shown)
        return {} if same else {"suggestions": [wanted]}


def _placed(row: Json, places: Mapping[str, int | None], lanes: Collection[str]) -> Json:
    """The whole metadata of a record with these ``places``, and without those in lanes that are gone."""
    before = row["metadata"] or {}
    kept = (name for name in before if name in lanes or not OURS.fullmatch(name))
    after = {name: before[name] for name in kept if name not in places}
    return after | {name: number for name, number in places.items() if number is not None}


def _cuts(length: int) -> list[tuple[int, int]]:
    """Where to cut what is sent: a small batch for the top of the queue, then the largest possible."""
    edges = [0, *range(TOP, length, BATCH), length]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def _is_answered(row: Json) -> bool:
    return any(one["status"] == "submitted" for one in row.get("responses") or ())


def _is_free(row: Json) -> bool:
    """Whether the record may be changed: it waits, nobody saved a draft of it, and the server can store it.

    Where it can't, the whole batch would fail.
    """
    responses = row.get("responses") or ()
    in_hand = any(one["status"] == "draft" for one in responses)
    return row["status"] == "pending" and not in_hand and can_be_stored(row)


def _close(one: float | list[float] | None, other: float | list[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    first, second = (value if isinstance(value, list) else [value] for value in (one, other))
    return len(first) == len(second) and all(abs(a - b) < SAME_SCORE for a, b in zip(first, second, strict=True))
