"""The order in which annotators get their records on Argilla.

Argilla shows the pending records in an order that is random for each user, unless the address asks for another. So
every person has a metadata property of their own (their *lane*) with a number on every record of the queue, and an
address that sorts by it. What Argilla keeps of a generation is these numbers and the suggestions, nothing else.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from typing import Any

import structlog

from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.records import Annotation, QueueEntry

from .client import Client
from .config import Form
from .lanes import HELD, arrange, settle
from .order import renumber
from .people import People, Person
from .rows import Rows
from .wire import placed, write_suggestion

log = structlog.get_logger(__name__)

Json = dict[str, Any]

TOP = 50
"""Records sent first, so that the head of the queue stands before the rest is on its way."""
BATCH = 500
"""The most that Argilla takes at once."""
SAME_SCORE = 0.05
"""Scores that differ by less are not sent again: the page shows one decimal."""
HEADS = 500
"""Heads of earlier orders that are remembered, to know what a page opened under one of them holds."""
REMEMBERED = 5000
"""Writes whose times are remembered."""
SKEW_S = 5.0
"""How far the server's clock may be from ours, and how long its index may take."""


@dataclass
class Lane:
    """One person's queue, as far as we know it.

    ``numbers`` are those we know of, ``floor`` is one that no unknown number exceeds, ``order`` is what was published,
    ``heads`` are the first records of what was published before, ``answered`` is the last answer that we made use of.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    floor: int = 0
    order: list[str] = field(default_factory=list)
    heads: deque[list[str]] = field(default_factory=lambda: deque(maxlen=HEADS))
    answered: str = ""

    def page(self, answered: str) -> list[str]:
        """The order that the person's page was opened under, by the record that they answered last."""
        if answered != self.answered and answered not in self.order[: 2 * HELD]:
            self.order = next((head for head in reversed(self.heads) if answered in head), self.order)
        self.answered = answered
        return self.order

    def put(self, order: list[str]) -> None:
        """``order`` is in force now."""
        if self.order[:HELD] != order[:HELD]:
            self.heads.append(self.order[:HELD])
        self.order = order


class Queue:
    """The queues of one dataset. One process publishes at a time; another may take over at any moment."""

    def __init__(self, client: Client, rows: Rows, people: People, dataset_id: str) -> None:
        self._client = client
        self._rows = rows
        self._people = people
        self._dataset = dataset_id
        self._lanes: dict[str, Lane] = {}  # by person
        self._properties: set[str] | None = None  # lanes that exist on the server
        self._published: tuple[QueueEntry, ...] = ()
        self._written: dict[str, tuple[float, float]] = {}  # record -> when its last write began and ended
        self._doubtful: set[str] = set()
        self._lock = threading.RLock()

    def links(self) -> dict[str, str]:
        """User name -> the address that sorts by this person's lane."""
        return {person.name: self.link(person) for person in self._people.members}

    def link(self, person: Person) -> str:
        """The address at which ``person`` gets records in our order."""
        return f"{self._client.url}/dataset/{self._dataset}/annotation-mode?sort=metadata.{person.lane}.desc"

    def welcome(self, form: Form) -> bool:
        """See who is in the workspace, and give newcomers a lane with the queue in force; whether there were any."""
        changed = self._people.refresh()
        self._ensure_properties()
        if changed and self._published:
            self.publish(self._published, form)
        return changed

    def note(self, annotations: Iterable[Annotation], deleted: Iterable[str] = ()) -> None:
        """Hear of answers, from an event or a poll.

        Argilla puts a record that we change into its search index as it was read a moment before. An answer given in
        that moment is lost to the index, and the record would be offered to the same person again: such records are
        sent once more, which has them indexed anew.
        """
        annotations = list(annotations)
        self._people.note(annotations, deleted)
        for one in annotations:
            began, ended = self._written.get(one.remote_id, (0.0, 0.0))
            if began - SKEW_S <= one.updated_at.timestamp() <= ended + SKEW_S:
                self._doubtful.add(one.remote_id)

    def publish(self, entries: Sequence[QueueEntry], form: Form) -> None:
        """Put ``entries`` first in every lane, behind what the pages of those at work hold.

        Sends only what changed, first ranks first. Raises LabelingMismatch before anything is sent, RecordsRejected,
        or PlatformUnavailable; the next call makes good what was left undone.
        """
        ranked = _ranked(entries)
        with self._lock:
            self._prepare()
            holding = settle({person: self._held(person) for person in self._people.active()})
            self._put(self._arrange(ranked, holding), holding, ranked, form)
            self._published = tuple(ranked)

    def extend(self, entries: Sequence[QueueEntry], form: Form) -> None:
        """Append ``entries`` to every lane. Raises as :meth:`publish` does."""
        more = _ranked(entries)
        new = {entry.remote_id for entry in more}
        with self._lock:
            self._prepare()
            lanes = self._arrange(more, {})
            for person, lane in self._lanes.items():
                here = [one for one in lane.order if one not in new and not self._people.is_complete(one)]
                lanes[person] = here + lanes[person]
            self._put(lanes, {}, more, form)

    # -- what stands there -------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Have a lane for every member: its property on the server, and its upper end here."""
        if not self._people.members:
            self._people.refresh()
        self._ensure_properties()
        members = {person.id: person for person in self._people.members}
        self._lanes = {person: lane for person, lane in self._lanes.items() if person in members}
        for person in members.values():
            if person.id not in self._lanes:
                self._lanes[person.id] = self._load(person)

    def _ensure_properties(self) -> None:
        if self._properties is None:
            path = f"/api/v1/me/datasets/{self._dataset}/metadata-properties"
            self._properties = {one["name"] for one in self._client.request("GET", path, again=True)["items"]}
        for person in self._people.members:
            if person.lane not in self._properties:
                self._create_property(person)
                self._properties.add(person.lane)

    def _create_property(self, person: Person) -> None:
        body = {
            "name": person.lane,
            "title": f"nextlabel queue of {person.name}"[:500],
            "settings": {"type": "integer"},
            "visible_for_annotators": False,
        }
        try:
            self._client.request("POST", f"/api/v1/datasets/{self._dataset}/metadata-properties", body=body)
        except PlatformError as error:
            if error.status != 409:  # another process was quicker
                raise

    def _load(self, person: Person) -> Lane:
        """What an earlier process left at the upper end of a lane."""
        sort = [{"scope": {"entity": "metadata", "metadata_property": person.lane}, "order": "desc"}]
        pending = {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]}
        found = self._rows.search(filters=[pending], sort=sort, limit=TOP)
        numbers = {row["id"]: row["metadata"][person.lane] for row in found if person.lane in (row["metadata"] or {})}
        floor = min(numbers.values()) if len(numbers) == TOP else 0
        return Lane(numbers, floor, list(numbers))

    def _held(self, person: str) -> list[str]:
        """What the person's page may hold: the first few that still wait for them, in the order it was opened under."""
        page = self._lanes[person].page(self._people.last_answered(person))
        return list(islice((record for record in page if self._people.is_open(record, person)), HELD))

    # -- what should stand there -------------------------------------------------------------------------------------

    def _arrange(self, ranked: Sequence[QueueEntry], holding: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        records = [entry.remote_id for entry in ranked]
        answered = {record: who for record in records if (who := self._people.who_answered(record))}
        return arrange(records, list(self._lanes), self._people.active(), holding, answered)

    def _put(
        self,
        orders: Mapping[str, list[str]],
        holding: Mapping[str, Sequence[str]],
        fresh: Sequence[QueueEntry],
        form: Form,
    ) -> None:
        """Bring every lane into its order, with the suggestions of the ``fresh`` entries."""
        suggestions = {
            entry.remote_id: None if entry.suggestion is None else write_suggestion(form, entry.suggestion)
            for entry in fresh
        }
        held = {*chain.from_iterable(holding.values())}
        try:
            self._send(self._moves(orders, holding), suggestions, held, form)
        except BaseException:
            self._lanes = {}  # how much of it arrived is not known
            raise
        for person, order in orders.items():
            self._lanes[person].put(order)

    def _moves(
        self, orders: Mapping[str, list[str]], holding: Mapping[str, Sequence[str]]
    ) -> dict[str, dict[str, int | None]]:
        """Record -> person -> new number, or None where it leaves the lane."""
        moves: dict[str, dict[str, int | None]] = defaultdict(dict)
        for person, order in orders.items():
            lane, wanted = self._lanes[person], set(order)
            current = {
                record: number
                for record, number in lane.numbers.items()
                if record in wanted or not self._people.is_complete(record)
            }
            fixed = len(holding.get(person, ()))
            for record, number in renumber(order, current, lane.floor, fixed=fixed).items():
                moves[record][person] = number
        return moves

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send(
        self,
        moves: Mapping[str, Mapping[str, int | None]],
        suggestions: Mapping[str, Json | None],
        held: Collection[str],
        form: Form,
    ) -> None:
        """Send what changed, in batches, the first of the ranking first. What pages hold keeps the suggestion shown."""
        doubtful = set(self._doubtful)
        ids = list(dict.fromkeys([*suggestions, *moves, *doubtful]))
        sent = 0
        for start, end in _cuts(len(ids)):
            rows = self._rows.fetch(ids[start:end])
            items = []
            for row in (rows[record] for record in ids[start:end] if record in rows):
                free = _is_free(row)
                changes = self._changes(row, moves.get(row["id"], {})) if free else {}
                if free and row["id"] in suggestions and row["id"] not in held:
                    changes |= self._suggest(row, suggestions[row["id"]], form)
                if row["id"] in doubtful and not changes:
                    changes = {"metadata": row["metadata"] or {}}
                if changes:
                    items.append({"id": row["id"], **changes})
            self._upsert(items, moves, doubtful)
            sent += len(items)
        self._doubtful -= doubtful
        log.debug("queue sent", records=len(ids), changed=sent, again=len(doubtful))

    def _upsert(
        self, items: Sequence[Json], moves: Mapping[str, Mapping[str, int | None]], doubtful: Collection[str]
    ) -> None:
        if not items:
            return
        began = time.time()
        written = [item["id"] for item in items]
        self._remember(written, (began, math.inf))
        self._rows.upsert(items)
        self._remember(written, (began, time.time()))
        for record in written:
            self._learn(record, moves.get(record, {}))
            if record in doubtful:  # indexed with the answer that we doubted
                del self._written[record]

    def _remember(self, records: Iterable[str], window: tuple[float, float]) -> None:
        for record in records:
            self._written.pop(record, None)  # the newest stand last
            self._written[record] = window
        while len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]

    def _changes(self, row: Json, moved: Mapping[str, int | None]) -> Json:
        """The metadata to send, whole since Argilla replaces it; nothing if it is the same. Never fields or answers."""
        before = row["metadata"] or {}
        lanes = {person.id: person.lane for person in self._people.members}
        places = {lanes[person]: number for person, number in moved.items()}
        after = {name: value for name, value in before.items() if name not in places}
        after |= {name: number for name, number in places.items() if number is not None}
        return {} if after == before else {"metadata": after}

    def _suggest(self, row: Json, suggestion: Json | None, form: Form) -> Json:
        """The suggestion to send, if it is not there already. None takes away what would be pre-selected."""
        wanted = placed(form, suggestion, row["fields"])
        shown = [one for one in row.get("suggestions") or () if one["question_id"] == form.question_id]
        if wanted is None:
            if shown:
                self._rows.delete_suggestions(row["id"], [one["id"] for one in shown])
            return {}
        same = any(one["value"] == wanted["value"] and _close(one["score"], wanted["score"]) for one in shown)
        return {} if same else {"suggestions": [wanted]}

    def _learn(self, record: str, moved: Mapping[str, int | None]) -> None:
        for person, number in moved.items():
            numbers = self._lanes[person].numbers
            if number is None:
                numbers.pop(record, None)
            else:
                numbers[record] = number


def _ranked(entries: Sequence[QueueEntry]) -> list[QueueEntry]:
    ranked = sorted(entries, key=lambda entry: entry.rank)
    if len({entry.remote_id for entry in ranked}) < len(ranked):
        raise ValueError("a record has two places in one generation")
    return ranked


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
