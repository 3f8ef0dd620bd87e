"""Each annotator's own order of the same ranking.

With one order for all, everybody's browser would hold the same ten records, and every record would be labelled
as often as there are annotators. So each gets a lane: first what their page holds already, then their share of the
ranking, then the shares of the others, and last what others hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

HELD = 16
"""Records that a page may hold unanswered: ten, and ten more when it shows one with five ahead. What comes new must
stand behind these: the page counts its way through the queue, and never shows what was put before its own place."""
LOADED = 10
"""Records that a page loads at once."""


def arrange(
    ranked: Sequence[str],
    people: Collection[str],
    active: Collection[str],
    holding: Mapping[str, Sequence[str]],
    answered: Mapping[str, Collection[str]],
) -> dict[str, list[str]]:
    """The order for each of ``people``. ``ranked`` is best first; ``holding`` is what the pages of the ``active`` hold.

    Those at work share the ranking among themselves, so that nothing waits for people who are away. Somebody who
    comes in gets the share that they would have if everybody came. Who has ``answered`` a record has no share in it.
    """
    crowds = {True: active, False: people}
    turns = {
        at_work: {record: turn_order(record, set(crowd).difference(answered.get(record, ()))) for record in ranked}
        for at_work, crowd in crowds.items()
    }
    lanes = {}
    for person in people:
        mine_among = turns[person in active]
        taken = {record for other in active if other != person for record in holding.get(other, ())}
        lane = list(holding.get(person, ()))
        here = set(lane)
        mine: list[str] = []
        rest: list[tuple[bool, int, int, str]] = []
        for place, record in enumerate(ranked):
            if record not in here:
                before = mine_among[record].get(person, len(people))
                if before or record in taken:
                    # From the far end: its owner comes from the near one.
                    rest.append((record in taken, before, -place, record))
                else:
                    mine.append(record)
        lanes[person] = lane + mine + [record for *_, record in sorted(rest)]
    return lanes


def settle(claims: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What each page holds, where several may hold the same record: whoever comes to it first.

    The first ten of a page are loaded for certain; what follows perhaps, and is left to who comes to it sooner.
    """
    soonest: dict[str, int] = {}
    for records in claims.values():
        for place, record in enumerate(records):
            soonest[record] = min(place, soonest.get(record, place))
    return {
        person: [record for place, record in enumerate(records) if place < LOADED or place == soonest[record]]
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
