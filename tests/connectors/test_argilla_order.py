"""Renumbering: whatever stood there before, sorting afterwards gives the wanted order, and little was changed."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from nextlabel.connectors.argilla.lanes import HEADROOM, STRIDE, longest_fall, renumber

NAMES = [f"r{i}" for i in range(40)]


def after(current: dict[str, int], changes: dict[str, int | None]) -> dict[str, int]:
    merged = current | changes
    return {name: number for name, number in merged.items() if number is not None}


def check(wanted: list[str], current: dict[str, int], floor: int = 0, fixed: int = 0) -> dict[str, int | None]:
    changes = renumber(wanted, current, floor, fixed=fixed)
    numbers = after(current, changes)
    served = sorted(numbers, key=lambda name: -numbers[name])
    assert served[: len(wanted)] == wanted
    assert len(set(numbers.values())) == len(numbers)
    assert all(numbers[name] > floor for name in wanted)
    assert all(changes[name] != current.get(name) for name in changes), "nothing is sent that stands there already"
    return changes


@given(
    st.permutations(NAMES).flatmap(lambda names: st.integers(0, 40).map(lambda n: names[:n])),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 60)).map(
        lambda found: {name: i + 1 for i, name in enumerate(sorted(found, key=lambda n: found[n]))}
    ),
    st.integers(0, 50),
)
def test_any_order_from_any_numbers(wanted: list[str], current: dict[str, int], floor: int):
    check(wanted, current, floor)


@given(st.lists(st.integers(0, 30), max_size=30))
def test_the_longest_fall_falls_and_none_is_longer(numbers: list[int]):
    found = longest_fall(numbers)
    assert found == sorted(found)
    values = [numbers[i] for i in found]
    assert all(a > b for a, b in itertools.pairwise(values))
    best = [1] * len(numbers)
    for i in range(len(numbers)):
        best[i] = 1 + max((best[j] for j in range(i) if numbers[j] > numbers[i]), default=0)
    assert len(found) == max(best, default=0)


def test_an_order_that_stands_costs_nothing():
    numbers = after({}, check(NAMES, {}))
    assert check(NAMES, numbers) == {}


def test_moving_one_changes_one():
    numbers = after({}, check(NAMES, {}))
    assert len(check([NAMES[30], *NAMES[:30], *NAMES[31:]], numbers)) == 1
    assert len(check([*NAMES[:5], *NAMES[6:], NAMES[5]], numbers)) == 1


def test_one_that_leaves_the_top_is_taken_out_rather_than_the_rest_moved_up():
    numbers = after({}, check(NAMES, {}))
    assert check(NAMES[1:], numbers) == {NAMES[0]: None}


def test_a_head_shorter_than_before_leaves_the_rest_below():
    numbers = after({}, check(NAMES, {}))
    assert check(NAMES[:10], numbers) == {}


def test_thousands_of_rounds_keep_to_exact_numbers_and_to_few_changes():
    dice = random.Random(5)
    pool = [f"p{i}" for i in range(400)]
    score = {name: dice.random() for name in pool}
    numbers: dict[str, int] = {}
    changed = 0
    for _ in range(2000):
        for name in dice.sample(pool, 5):
            score[name] = dice.random()
        wanted = sorted(pool, key=lambda name: -score[name])[:50]
        changes = check(wanted, numbers)
        numbers = after(numbers, changes)
        changed += len(changes)
    assert max(numbers.values()) < 2**53
    assert changed < 2000 * 10, "five records in 400 moved each round"


def test_what_people_hold_keeps_its_numbers_while_everything_else_changes():
    dice = random.Random(6)
    pool = [f"p{i}" for i in range(3000)]
    numbers: dict[str, int] = {}
    order: list[str] = []
    moved = 0
    for _ in range(2000):
        held = order[1:17]  # one was answered
        wanted = held + [name for name in dice.sample(pool, 60) if name not in held]
        changes = check(wanted, numbers, fixed=len(held))
        moved += bool(changes.keys() & set(held))
        numbers, order = after(numbers, changes), wanted
        for name in dice.sample(pool, 30):  # answered elsewhere, or forgotten
            if name not in order:
                numbers.pop(name, None)
    assert moved <= 5, "only where all numbers are used up"


def test_what_is_fixed_out_of_order_is_not_kept_so():
    numbers = after({}, check(NAMES, {}))
    check([NAMES[3], NAMES[1], *NAMES[10:20]], numbers, fixed=2)
    check(["unknown", *NAMES[10:20]], numbers, fixed=1)


def test_what_another_process_left_just_above_the_unknown_is_not_built_upon():
    numbers = {name: 1000 + place for place, name in enumerate(NAMES[::-1])}
    assert set(check(["new", *NAMES[:5]], numbers, floor=999)) == {"new", *NAMES[:5]}
    order = NAMES[:5]
    numbers = after(numbers, check(order, numbers, floor=999))
    changes = check([*order, *NAMES[5:20]], numbers, floor=999)
    assert not set(changes) & set(order)


def test_there_is_room_to_append_a_large_pool():
    order = NAMES[:10]
    numbers = after({}, check(order, {}))
    assert min(numbers.values()) > HEADROOM
    more = [f"m{i}" for i in range(HEADROOM // STRIDE - 10)]
    for start in range(0, len(more), 6000):
        stretch = more[start : start + 6000]
        changes = check(order + stretch, numbers)
        assert set(changes) == set(stretch)
        numbers, order = after(numbers, changes), order + stretch


def test_the_tail_makes_room_by_moving_out_what_is_stale():
    numbers = after({}, check(NAMES, {}))
    order = NAMES[:5]
    for start in range(0, 200, 20):
        stretch = [f"n{i}" for i in range(start, start + 20)]
        changes = check(order + stretch, numbers)
        assert not set(changes) & set(order)
        numbers, order = after(numbers, changes), order + stretch
