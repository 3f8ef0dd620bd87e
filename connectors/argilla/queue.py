"""The order in which annotators get their records on Argilla.

Argilla shows the pending records in an order that is random for each user, unless the address asks for another. So
every person has a metadata property of their own (their *lane*) with a number on every record of the queue, and an
address that sorts by it. What Argilla keeps of a generation is these numbers and the suggestions, nothing else.

How both are written while people answer: :mod:`nextlabel.connectors.argilla.delivery`.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from operator import eq

import structlog

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.delivery import TOP, Delivery, Moves
from nextlabel.connectors.argilla.lanes import HELD, Lane, People, Person, arrange, renumber, settle
from nextlabel.connectors.argilla.payloads import OURS, is_lane, write_suggestion
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.records import Annotation, QueueEntry, ranked

log = structlog.get_logger(__name__)


class ArgillaQueue:
    """The queues of one dataset. One process publishes at a time; another may take over at any moment."""

    def __init__(self, client: Client, rows: Rows, people: People, dataset_id: str) -> None:
        self._client = client
        self._rows = rows
        self._people = people
        self.delivery = Delivery(rows)
        self._dataset = dataset_id
        self._lanes: dict[str, Lane] = {}  # by person
        self._properties: set[str] | None = None  # lanes that exist on the server
        self._published: tuple[QueueEntry, ...] = ()
        self._lock = threading.RLock()

    def links(self) -> dict[str, str]:
        """User name -> the address that sorts by this person's lane.

        Lanes that are not there are made: Argilla answers no address that sorts by what it does not know.
        """
        with self._lock:
            self._ensure_properties()
        return {person.name: self.link(person) for person in self._people.members}

    def names(self) -> dict[str, str]:
        """User id -> user name."""
        return {person.id: person.name for person in self._people.members}

    def link(self, person: Person) -> str:
        """The address at which ``person`` gets records in our order."""
        return f"{self._client.url}/dataset/{self._dataset}/annotation-mode?sort=metadata.{person.lane}.desc"

    def ahead(self) -> list[str]:
        """What giving everybody a queue will change in the dataset, in words."""
        with self._lock:
            there = set(self._rows.properties())
            new = [person for person in self._people.members if person.lane not in there]
        return [f"{len(new)} metadata properties that annotators don't see are added, one per person"] if new else []

    def look_after(self, form: Form) -> bool:
        """Give newcomers a lane with the queue in force, take out those of people who left, and mend it.

        Scripts that write a record's metadata without reading it first take it out of the queue. Returns whether
        anybody came or left.
        """
        with self._lock:
            changed = self._people.refresh()
            self._properties = None
            anew = self._ensure_properties()
            if self._is_disturbed():
                log.info("somebody wrote over the queue; it is published again")
                self._lanes = {}
            if self._published and (changed or anew or not self._lanes):
                self.publish(self._published, form)
            self._clear_lanes(form)
        return changed

    def _clear_lanes(self, form: Form) -> None:
        """Take out the lanes of people who left: first the places, some at each look, and at last the property.

        A dataset that takes no metadata but its own would refuse places without a property.
        """
        mine = {person.lane for person in self._people.members}
        left = {name for name in self._properties or () if is_lane(name, form.apart) and name not in mine}
        for lane in left:
            if self.delivery.clear(lane):
                self._rows.drop_properties(partial(eq, lane))
                log.info("the lane of somebody who left is taken out", lane=lane)
        self._properties = (self._properties or set()) - left

    def note(self, annotations: Iterable[Annotation], complete: Mapping[str, frozenset[str]]) -> None:
        """Hear of answers that were read; ``complete``: record -> the ids of all annotations that it has."""
        annotations = list(annotations)
        self._people.note(annotations, complete)
        self.delivery.note(annotations)

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

    def refused(self) -> dict[str, str]:
        """Remote id -> why, of the records that Argilla does not let us change. They are tried again now and then."""
        return self.delivery.refused()

    def in_hand(self) -> frozenset[str]:
        """Records that the pages of those at work may hold, of as many people as are to answer them."""
        with self._lock:
            holders = Counter(chain.from_iterable(self._holding().values()))
        return frozenset(record for record, number in holders.items() if number >= self._people.wanted(record))

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

    def _ensure_properties(self) -> bool:
        """Have a property for every member; whether one was made anew that somebody had deleted.

        The search engine knows no number of a new property, though records may have them. So such a lane is filled from
        above what it had: a number that stayed as it is would not be sent, and not be found.
        """
        if self._properties is None:
            self._properties = set(self._rows.properties())
        # Of lanes that were there before we started we know no number.
        unknown, anew = not self._lanes and any(map(OURS.fullmatch, self._properties)), False
        for person in self._people.members:
            if person.lane in self._properties:
                continue
            self._create_property(person)
            self._properties.add(person.lane)
            if (lost := self._lanes.get(person.id)) is not None:
                log.info("somebody deleted a lane; it is made anew", annotator=person.name)
                self._lanes[person.id] = replace(lost, numbers={}, floor=max([lost.floor, *lost.numbers.values()]))
                anew = True
            elif unknown:
                numbers = ((row["metadata"] or {}).get(person.lane, 0) for row in self._rows.walk())
                self._lanes[person.id] = Lane(floor=max(numbers, default=0))
        return anew

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
        claims = {person: self._held(person) for person in self._people.active() if person in self._lanes}
        return settle(claims, self._people.wanted)

    def _held(self, person: str) -> list[str]:
        """What the person's page may hold: the first few that still wait for them, in the order it was opened under."""
        page = self._lanes[person].page(self._people.last_answered(person))
        return list(islice((record for record in page if self._people.is_open(record, person)), HELD))

    # -- what should stand there -------------------------------------------------------------------------------------

    def _arrange(self, entries: Sequence[QueueEntry], holding: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        records = [entry.remote_id for entry in entries]
        answered = {record: who for record in records if (who := self._people.who_answered(record))}
        wanted = {record: self._people.wanted(record) for record in records} if self._people.overlap > 1 else {}
        return arrange(records, list(self._lanes), self._people.active(), holding, answered, wanted)

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
            for sent in self.delivery.send(moves, suggestions, held, form, self._properties or ()):
                self._learn(sent, moves)
        except BaseException:
            self._lanes, self._properties = {}, None  # how much of it arrived is not known, nor what stands there
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
