"""Which numbers to change so that sorting by them, highest first, gives a wanted order: as few as possible.

Changing a record's number costs the server 11 ms, so whatever stands in the right order keeps its number, and the
rest is put into the gaps between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

STRIDE = 1 << 20
"""Between two neighbours, so that others fit in later."""
HEADROOM = 1 << 36
"""Left free below a new order, for what is appended to it. All numbers stay below 2**53, where JSON is exact."""
CROWDED = 1 << 10
"""A step below which what is in the way at the end of an order is moved out of it."""


def renumber(wanted: Sequence[str], current: Mapping[str, int], floor: int = 0) -> dict[str, int | None]:
    """The changes to ``current`` that put ``wanted`` first, in that order, and everything else below.

    ``floor`` is a number that nothing unknown exceeds. None takes a number away: without one, records come last.
    """
    inside = set(wanted)
    placed = [one for one in wanted if current.get(one, floor) > floor]
    outside = {one: number for one, number in current.items() if one not in inside}
    lowest = min((current[one] for one in placed), default=None)
    in_the_way = [] if lowest is None else sorted((n, one) for one, n in outside.items() if n > lowest)
    chain = [*placed, *(one for _, one in reversed(in_the_way))]
    kept = {chain[i] for i in longest_fall([current[one] for one in chain])}
    changes: dict[str, int | None] = {one: None for _, one in in_the_way if one not in kept}

    after = _length_of_end(wanted, kept)
    if after == len(wanted):
        return changes | _afresh(wanted, max([floor, *outside.values()]))
    last = current[wanted[-1 - after]]
    if after and last - _highest(outside, changes, floor) < CROWDED * (after + 1):
        changes |= {one: None for one, number in outside.items() if number > last - STRIDE * (after + 1)}
    filled = _fill(wanted, {one: current[one] for one in kept & inside}, _highest(outside, changes, floor))
    return _afresh(wanted, max([floor, *current.values()])) if filled is None else changes | filled


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


def _length_of_end(wanted: Sequence[str], kept: set[str]) -> int:
    """How many stand after the last that is kept; all of them if none is."""
    for length, one in enumerate(reversed(wanted)):
        if one in kept:
            return length
    return len(wanted)


def _highest(outside: Mapping[str, int], moved: Mapping[str, int | None], floor: int) -> int:
    return max((number for one, number in outside.items() if one not in moved), default=floor)


def _afresh(wanted: Sequence[str], top: int) -> dict[str, int | None]:
    """A number for everybody, above ``top``."""
    return {one: top + HEADROOM + STRIDE * left for left, one in enumerate(reversed(wanted), 1)}


def _fill(wanted: Sequence[str], kept: Mapping[str, int], bottom: int) -> dict[str, int | None] | None:
    """Numbers for those between, before and after the ``kept``, all above ``bottom``; None if there is no room."""
    numbers: dict[str, int | None] = {}
    waiting: list[str] = []
    above: int | None = None
    for one in (*wanted, None):
        below = bottom if one is None else kept.get(one)
        if below is None:
            waiting.append(str(one))
            continue
        if above is None:
            above = below + STRIDE * (len(waiting) + 1)
        step = (
            min(STRIDE, (above - below) // (len(waiting) + 1)) if one is None else (above - below) // (len(waiting) + 1)
        )
        if waiting and step < 1:
            return None
        numbers |= {name: above - step * i for i, name in enumerate(waiting, 1)}
        waiting, above = [], below
    return numbers
