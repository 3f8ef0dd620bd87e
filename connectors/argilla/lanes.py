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
CROWD = 12
"""People up to which everyone has a share from the start; in a larger crowd only those at work have."""


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
    everyone = set(people) if len(people) <= CROWD else set(active)
    lanes = {}
    for person in people:
        crowd = set(active) if person in active else everyone | {person}
        taken = {record for other in active if other != person for record in holding.get(other, ())}
        lane = list(holding.get(person, ()))
        here = set(lane)
        mine: list[str] = []
        rest: list[tuple[bool, int, int, str]] = []
        for place, record in enumerate(ranked):
            if record not in here:
                before = turn(record, person, crowd.difference(answered.get(record, ())))
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


def turn(record: str, person: str, crowd: Collection[str]) -> int:
    """How many of the ``crowd`` come before this person in being asked about a record; 0: it is theirs.

    An even share each, and few records change hands as the crowd changes. Rendezvous hashing: Thaler and Ravishankar,
    "Using name-based mappings to increase hit rates", 1998.
    """
    mine = _draw(record, person)
    return sum(_draw(record, other) > mine for other in crowd if other != person)


@lru_cache(maxsize=1 << 17)
def _draw(record: str, person: str) -> bytes:
    return hashlib.blake2b(f"{person} {record}".encode(), digest_size=8).digest()
