"""Each annotator's own order of the same ranking.

With one order for all, everybody's browser would hold the same ten records, and every record would be labelled
as often as there are annotators. So each gets a lane: first what their page holds already, then their share of the
ranking, then the shares of the others, and last what others hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

HELD = 15
"""Records that a page may hold unanswered: it loads ten, and ten more when five are left. What comes new must stand
behind these: the page counts its way through the queue, and would never show what was put before its own place."""
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
        mine, theirs, held = [], [], []
        for record in ranked:
            if record in here:
                continue
            if record in taken:
                held.append(record)
            elif whose(record, crowd.difference(answered.get(record, ())) or crowd) == person:
                mine.append(record)
            else:
                theirs.append(record)
        lanes[person] = lane + mine + theirs + held
    return lanes


def whose(record: str, crowd: Collection[str]) -> str:
    """Which of the ``crowd`` a record belongs to: an even share each, and few change hands as the crowd changes.

    Rendezvous hashing: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
    """
    return max(crowd, key=lambda person: hashlib.blake2b(f"{person} {record}".encode(), digest_size=8).digest())
