"""Who labels in a dataset, and each annotator's own order of the same ranking.

With one order for all, everybody's browser would hold the same ten records, and every record would be labelled
as often as there are annotators. So each gets a lane: first what their page holds already, then their share of the
ranking, then the shares of the others, and last what others hold.

A lane is a number on each of its records, and the page sorts by it, highest first. Changing a record's number costs the
server 11 ms. So as few as possible change: whatever stands in the right order keeps its number, and the rest is put
into the gaps between.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from urllib.parse import quote

from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.argilla.payloads import LANE
from nextlabel.connectors.errors import PlatformError, Unauthorized
from nextlabel.connectors.records import Annotation, AnnotationStatus

AT_WORK = timedelta(minutes=15)
"""How long after an answer somebody still counts as working, and their page as open."""
HELD = 16
"""Records that a page may hold unanswered: ten, and ten more when it shows one with five ahead. What comes new must
stand behind these: the page counts its way through the queue, and never shows what was put before its own place."""
LOADED = 10
"""Records that a page loads at once."""
HEADS = 500
"""Heads of earlier orders that are remembered, to know what a page opened under one of them holds."""
STRIDE = 1 << 20
"""Between two neighbours, so that others fit in later."""
HEADROOM = 1 << 36
"""Left free below a new order, for what is appended to it. All numbers stay below 2**53, where JSON is exact."""
CROWDED = 1 << 10
"""The least step at which records are put between two others; with less, the lower one moves down too."""


# -- people ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """One user of Argilla who may label here. ``apart``: of the question that is asked, see Form."""

    id: str
    name: str
    apart: str = ""

    @property
    def lane(self) -> str:
        """The metadata property that this person's queue is sorted by."""
        return LANE + self.id.replace("-", "")[:8] + self.apart


class People:
    """The people of one dataset. Thread-safe."""

    def __init__(self, client: Client, workspace_id: str, min_submitted: int, apart: str = "") -> None:
        self.min_submitted = min_submitted
        self.overlap = 1
        """How many are asked about each record from the start."""
        self._client, self._apart = client, apart
        self._workspace = workspace_id
        self.members: tuple[Person, ...] = ()
        """Everyone who may label, as of the last :meth:`refresh`: the key's own user first."""
        self._answers: dict[str, dict[str, Annotation]] = defaultdict(dict)  # record -> person -> the newest
        self._last: dict[str, Annotation] = {}  # person -> the newest
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Ask who is in the workspace; whether anybody joined or left since the last time."""
        me = self._client.get("/api/v1/me")
        users = self._client.items(f"/api/v1/workspaces/{self._workspace}/users")
        found = {str(user["id"]): Person(str(user["id"]), str(user["username"]), self._apart) for user in (me, *users)}
        changed = tuple(found.values()) != self.members
        self.members = tuple(found.values())
        return changed

    def note(self, annotations: Iterable[Annotation], complete: Mapping[str, frozenset[str]]) -> None:
        """Remember who answered what, so that nobody's page is disturbed. Repeats and old news change nothing.

        ``complete``: record -> the ids of all annotations that it has; others of it are forgotten.
        """
        with self._lock:
            for one in annotations:
                here = self._answers[one.remote_id]
                if one.annotator not in here or here[one.annotator].updated_at <= one.updated_at:
                    here[one.annotator] = one
                if one.annotator not in self._last or self._last[one.annotator].updated_at <= one.updated_at:
                    self._last[one.annotator] = one
            for record, ids in complete.items():
                here = self._answers.get(record, {})
                for person in [person for person, one in here.items() if one.id not in ids]:
                    del here[person]

    def active(self) -> list[str]:
        """Ids of the members who answered something lately."""
        since = self._client.now() - AT_WORK
        with self._lock:
            return [one.id for one in self.members if one.id in self._last and self._last[one.id].updated_at >= since]

    def last_answered(self, person: str) -> str:
        """The record that this person answered last; empty if we know of none."""
        with self._lock:
            return self._last[person].remote_id if person in self._last else ""

    def who_answered(self, record: str) -> frozenset[str]:
        """Who has the record behind them, or in hand as a draft, as far as we have heard."""
        with self._lock:
            return frozenset(self._answers.get(record, ()))

    def wanted(self, record: str) -> int:
        """How many more are to be asked about this record: 1 for one that is asked about again."""
        with self._lock:
            given = [one.status for one in self._answers.get(record, {}).values()]
        return max(1, self.overlap - given.count(AnnotationStatus.SUBMITTED))

    def is_complete(self, record: str) -> bool:
        """Whether the record left everybody's queue: it has as many answers as the dataset asks for."""
        with self._lock:
            given = [one.status for one in self._answers.get(record, {}).values()]
        return given.count(AnnotationStatus.SUBMITTED) >= self.min_submitted

    def is_open(self, record: str, person: str) -> bool:
        """Whether ``record`` still waits in this person's queue."""
        return person not in self.who_answered(record) and not self.is_complete(record)


def is_deleted(client: Client, user: str) -> bool:
    """Whether the account with this id is gone; False where the key may not know."""
    try:
        client.get(f"/api/v1/users/{quote(user, safe='')}")
    except Unauthorized:
        return False
    except PlatformError as error:
        if error.status != 404:
            raise
        return True
    return False


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


# -- the order -------------------------------------------------------------------------------------------------------


def arrange(
    ranked: Sequence[str],
    people: Collection[str],
    active: Collection[str],
    holding: Mapping[str, Sequence[str]],
    answered: Mapping[str, Collection[str]],
    wanted: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, list[str]]:
    """The order for each of ``people``. ``ranked`` is best first; ``holding`` is what the pages of the ``active`` hold.

    Those at work share the ranking among themselves, so that nothing waits for people who are away. Somebody who
    comes in gets the share that they would have if everybody came. Who has ``answered`` a record has no share in it.
    ``wanted``: how many are to answer a record, where it is more than one: so many have it in their share. What some
    of several have answered comes first, so that it is complete soon.
    """
    crowds = {True: active, False: people}
    turns = {
        at_work: {record: turn_order(record, set(crowd).difference(answered.get(record, ()))) for record in ranked}
        for at_work, crowd in crowds.items()
    }
    lanes = {}
    for person in people:
        mine_among = turns[person in active]
        holders = Counter(record for other in active if other != person for record in holding.get(other, ()))
        taken = {record for record, number in holders.items() if number >= wanted.get(record, 1)}
        lane = list(holding.get(person, ()))
        here = set(lane)
        begun: list[str] = []
        mine: list[str] = []
        rest: list[tuple[bool, int, int, str]] = []
        for place, record in enumerate(ranked):
            if record not in here:
                before = mine_among[record].get(person, len(people))
                if before >= wanted.get(record, 1) or record in taken:
                    # From the far end: its owner comes from the near one.
                    rest.append((record in taken, before, -place, record))
                elif record in wanted and record in answered:
                    begun.append(record)
                else:
                    mine.append(record)
        lanes[person] = lane + begun + mine + [record for *_, record in sorted(rest)]
    return lanes


def settle(
    claims: Mapping[str, Sequence[str]], wanted: Callable[[str], int] = lambda record: 1
) -> dict[str, list[str]]:
    """What each page holds, where more may hold a record than are ``wanted`` for it: whoever comes to it first.

    The first ten of a page are loaded for certain; what follows perhaps, and is left to who comes to it sooner.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for records in claims.values():
        for place, record in enumerate(records):
            places[record].append(place)
    last = {record: sorted(here)[: wanted(record)][-1] for record, here in places.items()}
    return {
        person: [record for place, record in enumerate(records) if place < LOADED or place <= last[record]]
        for person, records in claims.items()
    }


def turn_order(record: str, crowd: Collection[str]) -> dict[str, int]:
    """Whose turn it is to be asked about a record: person -> how many come before; 0 for the one whose it is.

    An even share each, and few records change hands as the crowd changes. Rendezvous hashing: Thaler and Ravishankar,
    "Using name-based mappings to increase hit rates", 1998.
    """
    drawn = sorted(crowd, key=lambda person: _draw(record, person), reverse=True)
    return {person: place for place, person in enumerate(drawn)}


@lru_cache(maxsize=1 << 17)
def _draw(record: str, person: str) -> bytes:
    return hashlib.blake2b(f"{person} {record}".encode(), digest_size=8).digest()


# -- the numbers -----------------------------------------------------------------------------------------------------


def renumber(
    wanted: Sequence[str], current: Mapping[str, int], floor: int = 0, *, fixed: int = 0
) -> dict[str, int | None]:
    """The changes to ``current`` that put ``wanted`` first, in that order, and everything else below.

    The first ``fixed`` keep their numbers if they stand in order. ``floor`` is a number that nothing unknown exceeds.
    None takes a number away: records without one come last.
    """
    low = floor + CROWDED * (len(wanted) + 1)  # who stands higher leaves room for all others
    head = [current.get(one, low) for one in wanted[:fixed]]
    ceiling = head[-1] if head and _falls([*head, low]) else None
    rest = wanted if ceiling is None else wanted[fixed:]
    inside = set(wanted)
    outside = {one: number for one, number in current.items() if one not in inside}
    kept = _keep(rest, {one: current[one] for one in rest if current.get(one, low) > low}, outside, ceiling)
    changes = _place(rest, kept, outside, ceiling, floor)
    if changes is None:
        top = max([floor, *current.values()]) + HEADROOM
        return {one: top + STRIDE * left for left, one in enumerate(reversed(wanted), 1)}
    return {one: number for one, number in changes.items() if number != current.get(one)}


def longest_fall(numbers: Sequence[int]) -> list[int]:
    """Indices of a longest strictly falling subsequence, by patience sorting: O(n log n)."""
    tops: list[int] = []  # the largest number, negated, that ends a fall of each length
    ends: list[int] = []  # and where that is
    before: list[int] = []
    for i, number in enumerate(numbers):
        pile = bisect_left(tops, -number)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [-number]
        ends[pile : pile + 1] = [i]
    found: list[int] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(at)
        at = before[at]
    return found[::-1]


def _falls(numbers: Sequence[int]) -> bool:
    return all(above > below for above, below in pairwise(numbers))


def _keep(
    rest: Sequence[str], numbers: Mapping[str, int], outside: Mapping[str, int], ceiling: int | None
) -> dict[str, int]:
    """Who may keep their number: most of ``rest``, where moving it costs more than moving what stands above it."""
    limit = max([0, *numbers.values(), *outside.values()]) + 1 if ceiling is None else ceiling
    placed = [one for one in rest if one in numbers and numbers[one] < limit]
    lowest = min((numbers[one] for one in placed), default=limit)
    in_the_way = sorted((number for number in outside.values() if lowest < number < limit), reverse=True)
    chain = [*(numbers[one] for one in placed), *in_the_way]
    return {placed[i]: chain[i] for i in longest_fall(chain) if i < len(placed)}


def _place(
    rest: Sequence[str], kept: Mapping[str, int], outside: Mapping[str, int], ceiling: int | None, floor: int
) -> dict[str, int | None] | None:
    """Numbers for those of ``rest`` that are not ``kept``, below ``ceiling``.

    Who is kept moves down after all where there is no room in front; what is in the way at the end loses its number.
    None if too much is in the way: then all are better put on top.
    """
    changes: dict[str, int | None] = {}
    waiting: list[str] = []
    above = ceiling
    for one in rest:
        below = kept.get(one)
        if below is None:
            waiting.append(one)
        elif above is None:
            changes |= _numbers(waiting, below + STRIDE * (len(waiting) + 1), STRIDE)
            waiting, above = [], below
        elif (step := (above - below) // (len(waiting) + 1)) >= CROWDED or not waiting:
            changes |= _numbers(waiting, above, step)
            waiting, above = [], below
        else:
            waiting.append(one)
    if above is None:
        top = max([floor, *outside.values()]) + HEADROOM
        return changes | _numbers(waiting, top + STRIDE * (len(waiting) + 1), STRIDE)
    below = max((number for number in outside.values() if number < above), default=floor)
    step = min(STRIDE, (above - max(below, floor)) // (len(waiting) + 1))
    if waiting and step < CROWDED:
        step = CROWDED
    last = above - step * len(waiting)
    in_the_way = [one for one, number in outside.items() if number >= last]
    if len(in_the_way) > 2 * len(rest):
        return None
    return changes | _numbers(waiting, above, step) | dict.fromkeys(in_the_way)


def _numbers(names: Sequence[str], above: int, step: int) -> dict[str, int | None]:
    return {name: above - step * place for place, name in enumerate(names, 1)}
