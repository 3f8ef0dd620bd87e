"""Lanes: who gets what, and that no page skips a record however often the queue is made anew."""

from __future__ import annotations

import random

import pytest

from nextlabel.connectors.argilla.lanes import HELD, arrange, settle, turn_order

RECORDS = [f"record{i}" for i in range(60)]
PEOPLE = ["ana", "ben", "eva"]


def test_a_share_for_everyone_and_the_rest_behind_it():
    lanes = arrange(RECORDS, PEOPLE, PEOPLE, {}, {})
    for person, lane in lanes.items():
        assert sorted(lane) == sorted(RECORDS)
        mine = [record for record in RECORDS if turn_order(record, PEOPLE)[person] == 0]
        assert lane[: len(mine)] == mine
        assert 10 <= len(mine) <= 30
    heads = [record for lane in lanes.values() for record in lane[:10]]
    assert len(set(heads)) == len(heads), "no two people begin with the same records"


def test_after_their_own_share_people_take_from_the_far_end_of_others():
    lanes = arrange(RECORDS, PEOPLE, PEOPLE, {}, {})
    theirs = [record for record in lanes["ana"] if turn_order(record, PEOPLE)["ana"]]
    for other in ("ben", "eva"):
        mine = [record for record in RECORDS if turn_order(record, PEOPLE)[other] == 0]
        met = [record for record in theirs if record in mine and turn_order(record, PEOPLE)["ana"] == 1]
        assert met == [record for record in reversed(mine) if record in met]


def test_whoever_works_alone_gets_the_ranking_itself():
    assert arrange(RECORDS, PEOPLE, ["ben"], {}, {})["ben"] == RECORDS


def test_somebody_who_comes_in_begins_with_a_share_of_their_own():
    lanes = arrange(RECORDS, PEOPLE, [], {}, {})
    assert len({lane[0] for lane in lanes.values()}) == 3
    assert RECORDS[0] in {lane[0] for lane in lanes.values()}
    crowd = [f"person{i}" for i in range(40)]
    first = arrange(RECORDS, crowd, [], {}, {})
    pages = [set(first[person][:10]) for person in crowd[:3]]
    assert len(set.union(*pages)) >= 22, "in a large crowd, three who come at once hardly meet"


def test_what_a_page_holds_comes_first_there_and_last_elsewhere():
    holding = {"ana": RECORDS[40:45], "ben": ["gone from the ranking"]}
    lanes = arrange(RECORDS, PEOPLE, ["ana", "ben"], holding, {})
    assert lanes["ana"][:5] == RECORDS[40:45]
    assert lanes["ben"][0] == "gone from the ranking"
    assert set(lanes["ben"][-5:]) == set(RECORDS[40:45])
    assert set(lanes["eva"][-5:]) == set(RECORDS[40:45])


def test_another_opinion_is_nobodys_who_gave_one():
    answered = {RECORDS[0]: ["ana", "ben"]}
    lanes = arrange(RECORDS, PEOPLE, PEOPLE, {}, answered)
    assert lanes["eva"][0] == RECORDS[0]


def test_few_records_change_hands_when_somebody_leaves():
    for record in RECORDS:
        before = min(PEOPLE, key=lambda person: turn_order(record, PEOPLE)[person])
        now = min(PEOPLE[:2], key=lambda person: turn_order(record, PEOPLE[:2])[person])
        assert now == before or before == "eva"


def test_what_two_pages_may_hold_goes_to_the_one_that_comes_to_it_first():
    ana, ben = [f"a{i}" for i in range(12)], [f"b{i}" for i in range(12)]
    ben[11], ben[3] = ana[2], ana[5]
    ana[10] = ben[0]
    held = settle({"ana": ana, "ben": ben})
    assert held["ana"] == ana[:10] + ana[11:], "the tenth is certain, the eleventh is not"
    assert held["ben"] == ben[:11]
    assert ana[5] in held["ana"], "both have loaded it"


class Page:
    """The paging of the web page: ten at first, and on from (loaded - answered) when five or fewer are ahead."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.buffer: list[str] = []

    def next(self, queue: list[str]) -> str | None:
        if len(self.buffer) <= 5:
            self.buffer += queue[len(self.buffer) : len(self.buffer) + 10]
        if not self.buffer:
            return None
        self.shown.append(self.buffer.pop(0))
        return self.shown[-1]


@pytest.mark.parametrize("seed", range(20))
def test_every_page_shows_our_order_whenever_the_ranking_changes(seed: int):
    """Three people at their own pace, and a new ranking after most answers: nothing is skipped, nothing comes twice."""
    dice = random.Random(seed)
    pool = [f"record{i}" for i in range(400)]
    answered: set[str] = set()
    pages = {person: Page() for person in PEOPLE}
    order = arrange(pool, PEOPLE, [], {}, {})
    active: set[str] = set()

    def waiting(person: str) -> list[str]:
        return [record for record in order[person] if record not in answered]

    for _ in range(250):
        person = dice.choice(PEOPLE)
        first = waiting(person)[0]
        assert pages[person].next(waiting(person)) == first
        assert first not in answered
        answered.add(first)
        active.add(person)
        if dice.random() < 0.7:
            ranked = [record for record in pool if record not in answered]
            dice.shuffle(ranked)
            holding = {who: waiting(who)[:HELD] for who in active}
            order = arrange(ranked[: dice.randint(60, 150)], PEOPLE, active, holding, {})


def test_the_last_records_are_offered_to_all():
    """When there is less left than pages hold, the same record may be answered twice, but none stays behind."""
    left = RECORDS[:4]
    lanes = arrange(left, PEOPLE, PEOPLE, {"ana": left}, {})
    assert all(sorted(lane) == sorted(left) for lane in lanes.values())


def test_what_several_are_to_answer_is_in_the_share_of_so_many():
    wanted = dict.fromkeys(RECORDS, 3)
    assert arrange(RECORDS, PEOPLE, PEOPLE, {}, {}, wanted) == dict.fromkeys(PEOPLE, RECORDS)
    crowd = [f"person{i}" for i in range(8)]
    lanes = arrange(RECORDS, crowd, crowd, {}, {}, wanted)
    assert all(sum(record in lane[:15] for lane in lanes.values()) == 3 for record in RECORDS[:20])


def test_what_some_have_answered_comes_before_what_is_new():
    answered = {RECORDS[30]: ["ana"], RECORDS[40]: ["ana", "ben"]}
    wanted = {**dict.fromkeys(RECORDS, 3), RECORDS[30]: 2, RECORDS[40]: 1}
    lanes = arrange(RECORDS, PEOPLE, PEOPLE, {"eva": RECORDS[:2]}, answered, wanted)
    assert lanes["eva"][:4] == [*RECORDS[:2], RECORDS[30], RECORDS[40]]
    assert lanes["ben"][:3] == [RECORDS[30], *RECORDS[:2]]
    assert lanes["ana"][:2] == RECORDS[:2]
    assert set(lanes["ana"][-2:]) == {RECORDS[30], RECORDS[40]}


def test_pages_may_hold_the_same_as_long_as_it_wants_more():
    held = settle(dict.fromkeys(PEOPLE, RECORDS[:16]), lambda record: 3)
    assert held == dict.fromkeys(PEOPLE, RECORDS[:16])
    late = settle({"ana": RECORDS[:16], "ben": RECORDS[1:17], "eva": RECORDS[2:18]}, lambda record: 2)
    assert RECORDS[15] not in late["ana"], "two come to it sooner"
    assert RECORDS[15] in late["ben"]
