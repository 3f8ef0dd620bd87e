"""Which numbers to change so that sorting by them, highest first, gives a wanted order: as few as possible.

Changing a record's number costs the server 11 ms, so whatever stands in the right order keeps its number, and the
rest is put into the gaps between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise

STRIDE = 1 << 20
"""Between two neighbours, so that others fit in later."""
HEADROOM = 1 << 36
"""Left free below a new order, for what is appended to it. All numbers stay below 2**53, where JSON is exact."""
CROWDED = 1 << 10
"""The least step at which records are put between two others; with less, the lower one moves down too."""


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
