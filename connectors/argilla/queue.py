"""The order in which annotators get their records on Argilla.

Argilla shows the pending records in an order that is random for each user, unless the address asks for another. So
every person has a metadata property of their own (their *lane*) with a number on every record of the queue, and an
address that sorts by it. What Argilla keeps of a generation is these numbers and the suggestions, nothing else.

Both are written while people answer. Argilla replaces a record's metadata as a whole, so rows are read before they are
written, and what did not change is not sent. It also puts every record that we change into its search index as it was
read a moment before: an answer given in that moment is in the database, but not in the index, and the record would be
offered to the same person again.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise

import structlog

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.lanes import HELD, Lane, People, Person, arrange, renumber, settle
from nextlabel.connectors.argilla.payloads import placed, write_suggestion
from nextlabel.connectors.argilla.rows import BATCH, Rows
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.records import Annotation, QueueEntry, ranked

log = structlog.get_logger(__name__)

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


class ArgillaQueue:
    """The queues of one dataset. One process publishes at a time; another may take over at any moment."""

    def __init__(self, client: Client, rows: Rows, people: People, dataset_id: str) -> None:
        self._client = client
        self._rows = rows
        self._people = people
        self._delivery = Delivery(rows)
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

    def ahead(self) -> list[str]:
        """What giving everybody a queue will change in the dataset, in words."""
        with self._lock:
            there = self._there()
            new = [person for person in self._people.members if person.lane not in there]
        return [f"{len(new)} metadata properties that annotators don't see are added, one per person"] if new else []

    def look_after(self, form: Form) -> bool:
        """Give newcomers a lane with the queue in force, and restore what others took from it; whether anybody came.

        Scripts that write a record's metadata without reading it first take it out of the queue.
        """
        with self._lock:
            changed = self._people.refresh()
            self._ensure_properties()
            if self._is_disturbed():
                log.info("somebody wrote over the queue; it is published again")
                self._lanes = {}
            if self._published and (changed or not self._lanes):
                self.publish(self._published, form)
        return changed

    def open_lanes(self) -> None:
        """Have the addresses of :meth:`links` answered: Argilla refuses to sort by what it does not know."""
        with self._lock:
            self._people.refresh()
            self._ensure_properties()

    def note(self, annotations: Iterable[Annotation], complete: Mapping[str, frozenset[str]]) -> None:
        """Hear of answers that were read; ``complete``: record -> the ids of all annotations that it has."""
        annotations = list(annotations)
        self._people.note(annotations, complete)
        self._delivery.note(annotations)

    def publish(self, entries: Sequence[QueueEntry], form: Form) -> None:
        """Put ``entries`` first in every lane, behind what the pages of those at work hold.

        Sends only what changed, first ranks first. Raises LabelingMismatch before anything is sent, RecordsRejected,
        or PlatformUnavailable; the next call makes good what was left undone.
        """
        best = ranked(entries)
        with self._lock:
            self._prepare()
            holding = self._holding()
            self._put(self._arrange(best, holding), holding, best, form)
            self._published = tuple(best)

    def extend(self, entries: Sequence[QueueEntry], form: Form) -> None:
        """Append ``entries`` to every lane. Raises as :meth:`publish` does."""
        more = ranked(entries)
        new = {entry.remote_id for entry in more}
        with self._lock:
            self._prepare()
            lanes = self._arrange(more, {})
            for person, lane in self._lanes.items():
                here = [one for one in lane.order if one not in new and not self._people.is_complete(one)]
                lanes[person] = here + lanes[person]
            self._put(lanes, {}, more, form)

    def in_hand(self) -> frozenset[str]:
        """Records that the pages of those at work may hold."""
        with self._lock:
            return frozenset(chain.from_iterable(self._holding().values()))

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
        there = self._there()
        for person in self._people.members:
            if person.lane not in there:
                self._create_property(person)
                there.add(person.lane)

    def _there(self) -> set[str]:
        """Names of the metadata properties on the server."""
        if self._properties is None:
            properties = self._client.items(f"/api/v1/me/datasets/{self._dataset}/metadata-properties")
            self._properties = {one["name"] for one in properties}
        return self._properties

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

    def _is_disturbed(self) -> bool:
        """Whether records at the head of a lane have other numbers than we gave them."""
        heads = {person: self._held(person) for person in self._lanes}
        rows = self._rows.fetch([*dict.fromkeys(chain.from_iterable(heads.values()))], include=())
        lanes = {person.id: person.lane for person in self._people.members}
        return any(
            rows[record]["metadata"].get(lanes[person]) != self._lanes[person].numbers.get(record)
            for person, head in heads.items()
            for record in head
            if person in lanes and record in rows and rows[record]["status"] == "pending"
        )

    def _holding(self) -> dict[str, list[str]]:
        """What the page of everybody at work may hold. Nobody's, as long as we have not looked at the lanes."""
        return settle({person: self._held(person) for person in self._people.active() if person in self._lanes})

    def _held(self, person: str) -> list[str]:
        """What the person's page may hold: the first few that still wait for them, in the order it was opened under."""
        page = self._lanes[person].page(self._people.last_answered(person))
        return list(islice((record for record in page if self._people.is_open(record, person)), HELD))

    # -- what should stand there -------------------------------------------------------------------------------------

    def _arrange(self, entries: Sequence[QueueEntry], holding: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        records = [entry.remote_id for entry in entries]
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
        moves = self._moves(orders, holding)
        try:
            for sent in self._delivery.send(moves, suggestions, held, form):
                self._learn(sent, moves)
        except BaseException:
            self._lanes = {}  # how much of it arrived is not known
            raise
        for person, order in orders.items():
            self._lanes[person].put(order)

    def _moves(self, orders: Mapping[str, list[str]], holding: Mapping[str, Sequence[str]]) -> Moves:
        """The numbers to change so that every lane comes into its order."""
        moves: dict[str, dict[str, int | None]] = defaultdict(dict)
        for person in self._people.members:
            lane, order = self._lanes[person.id], orders[person.id]
            wanted = set(order)
            current = {
                record: number
                for record, number in lane.numbers.items()
                if record in wanted or not self._people.is_complete(record)
            }
            fixed = len(holding.get(person.id, ()))
            for record, number in renumber(order, current, lane.floor, fixed=fixed).items():
                moves[record][person.lane] = number
        return moves

    def _learn(self, sent: Sequence[str], moves: Moves) -> None:
        for person in self._people.members:
            numbers = self._lanes[person.id].numbers
            for record in sent:
                number = moves.get(record, {}).get(person.lane, numbers.get(record))
                if number is None:
                    numbers.pop(record, None)
                else:
                    numbers[record] = number


# -- what is sent ----------------------------------------------------------------------------------------------------


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
