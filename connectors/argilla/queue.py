"""The order in which annotators get their records on Argilla.

Argilla shows the pending records in an order that is random for each user, unless the address asks for another. So
every person has a metadata property of their own (their *lane*) with a number on every record of the queue, and an
address that sorts by it. What Argilla keeps of a generation is these numbers and the suggestions, nothing else.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import structlog

from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.records import QueueEntry

from .client import Client
from .config import Form
from .lanes import HELD, arrange
from .order import renumber
from .people import People, Person
from .rows import Rows
from .wire import write_suggestion

log = structlog.get_logger(__name__)

Json = dict[str, Any]

TOP = 50
"""Records sent first, so that the head of the queue stands before the rest is on its way."""
BATCH = 500
"""The most that Argilla takes at once."""
SAME_SCORE = 0.01
"""Two scores that differ by less are shown as the same to annotators, and not sent again."""


@dataclass
class Lane:
    """One person's queue, as far as we know it.

    ``numbers`` are those we know of, ``floor`` is one that no unknown number exceeds, ``order`` is what was published.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    floor: int = 0
    order: list[str] = field(default_factory=list)


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

    def publish(self, entries: Sequence[QueueEntry], form: Form) -> None:
        """Put ``entries`` first in every lane, behind what the pages of those at work hold.

        Sends only what changed, first ranks first. Raises LabelingMismatch before anything is sent, RecordsRejected,
        or PlatformUnavailable; the next call makes good what was left undone.
        """
        ranked = _ranked(entries)
        with self._lock:
            self._prepare()
            active = self._people.active()
            holding = {person: self._held(person) for person in active}
            orders = self._arrange(ranked, holding)
            self._apply(orders, ranked, form)
            self._published = tuple(ranked)

    def extend(self, entries: Sequence[QueueEntry], form: Form) -> None:
        """Append ``entries`` to every lane. Raises as :meth:`publish` does."""
        ranked = _ranked(entries)
        with self._lock:
            self._prepare()
            more = self._arrange(ranked, {})
            orders = {}
            for person, lane in self._lanes.items():
                here = [record for record in lane.order if not self._people.is_complete(record)]
                known = set(here)
                orders[person] = here + [record for record in more[person] if record not in known]
            self._apply(orders, ranked, form)

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
        """What the person's page may hold: the first few that still wait for them, in the order published."""
        waiting = (record for record in self._lanes[person].order if self._people.is_open(record, person))
        return list(islice(waiting, HELD))

    # -- what should stand there -------------------------------------------------------------------------------------

    def _arrange(self, ranked: Sequence[QueueEntry], holding: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        records = [entry.remote_id for entry in ranked]
        answered = {record: who for record in records if (who := self._people.who_answered(record))}
        return arrange(records, list(self._lanes), self._people.active(), holding, answered)

    def _apply(self, orders: Mapping[str, list[str]], ranked: Sequence[QueueEntry], form: Form) -> None:
        moves = self._moves(orders)
        suggestions = {
            entry.remote_id: None if entry.suggestion is None else write_suggestion(form, entry.suggestion)
            for entry in ranked
        }
        try:
            self._send(moves, suggestions, form)
        except BaseException:
            self._lanes = {}  # how much of it arrived is not known
            raise
        for person, order in orders.items():
            self._lanes[person].order = order

    def _moves(self, orders: Mapping[str, list[str]]) -> dict[str, dict[str, int | None]]:
        """Record -> person -> new number, or None where it leaves the lane."""
        moves: dict[str, dict[str, int | None]] = defaultdict(dict)
        for person, order in orders.items():
            lane, wanted = self._lanes[person], set(order)
            current = {
                record: number
                for record, number in lane.numbers.items()
                if record in wanted or not self._people.is_complete(record)
            }
            for record, number in renumber(order, current, lane.floor).items():
                moves[record][person] = number
        return moves

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send(
        self, moves: Mapping[str, Mapping[str, int | None]], suggestions: Mapping[str, Json | None], form: Form
    ) -> None:
        ids = [*suggestions, *(record for record in moves if record not in suggestions)]
        sent = 0
        for start, end in _cuts(len(ids)):
            batch = ids[start:end]
            rows = self._rows.fetch(batch)
            items = []
            for record in batch:
                row = rows.get(record)
                if row is None or not _is_free(row):
                    continue
                wanted = suggestions.get(record)
                if wanted is None and record in suggestions:
                    self._blind(row, form)
                item = self._item(row, moves.get(record, {}), wanted, form)
                if len(item) > 1:
                    items.append(item)
            if items:
                self._rows.upsert(items)
            for item in items:
                self._learn(item["id"], moves.get(item["id"], {}))
            sent += len(items)
        log.debug("queue sent", records=len(ids), changed=sent)

    def _item(self, row: Json, moved: Mapping[str, int | None], wanted: Json | None, form: Form) -> Json:
        """What has to be sent of one record: never its fields, never its responses."""
        item: Json = {"id": row["id"]}
        metadata = dict(row["metadata"] or {})
        lanes = {person.id: person.lane for person in self._people.members}
        for person, number in moved.items():
            if number is None:
                metadata.pop(lanes[person], None)
            else:
                metadata[lanes[person]] = number
        if metadata != (row["metadata"] or {}):
            item["metadata"] = metadata
        if wanted is not None and not _is_shown(row, wanted, form):
            item["suggestions"] = [wanted]
        return item

    def _blind(self, row: Json, form: Form) -> None:
        """Take away what would be pre-selected on a record of the audit slice."""
        shown = [one["id"] for one in row.get("suggestions") or () if one["question_id"] == form.question_id]
        if shown:
            self._rows.delete_suggestions(row["id"], shown)

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
    """Whether nobody has this record in hand: it is not finished, and no draft of it is saved."""
    drafts = any(one["status"] == "draft" for one in row.get("responses") or ())
    return row["status"] == "pending" and not drafts


def _is_shown(row: Json, wanted: Json, form: Form) -> bool:
    """Whether the suggestion in place says the same, to the eye of an annotator."""
    for shown in row.get("suggestions") or ():
        if shown["question_id"] == form.question_id:
            return bool(shown["value"] == wanted["value"]) and _close(shown["score"], wanted["score"])
    return False


def _close(one: float | list[float] | None, other: float | list[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    first, second = (value if isinstance(value, list) else [value] for value in (one, other))
    return len(first) == len(second) and all(abs(a - b) < SAME_SCORE for a, b in zip(first, second, strict=True))
