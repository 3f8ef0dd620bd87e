"""How much of a queue goes to second opinions, record by record, with a score that the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.ranking import AMONG, LEAST_SHARE, MOST, Choice, Ranker
from nextlabel.backend.selection import Pool
from nextlabel.backend.selection.base import Floats, top_k
from nextlabel.connectors.records import Labeling, LabelKind
from tests.backend.pool.test_pool import answer, stored

SIZE, ANSWERED = 60, 20


class First:
    """Wants the records with the highest first probability, whoever has answered them."""

    name = "first"
    relabels: ClassVar[bool] = True

    def score(self, pool: Pool) -> Floats:
        return np.asarray(pool.probabilities[:, 0], np.float32)

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Positions:
        return top_k(self.score(pool), k, rng)


class Unscored:
    """The same wish, of a strategy that only picks, as a mixture does."""

    name = "unscored"
    relabels: ClassVar[bool] = True

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Positions:
        return First().query(pool, k, rng)


class Told:
    """A model that gives each record the first probability that it was told; held out, ``echo`` less."""

    def __init__(self, scores: npt.NDArray[np.float32], echo: float, learned: Sequence[int]) -> None:
        self.scores, self.echo, self.learned = scores, np.float32(echo), learned

    def view(self, pool: PoolState, at: Positions, *, spans: bool = False) -> Pool:
        return Pool(np.stack([self.scores[at], 1 - self.scores[at]], axis=1))

    def held_out(self, pool: PoolState, at: Positions) -> npt.NDArray[np.float32] | None:
        found = self.scores[at] - self.echo
        found[np.isin(at, self.learned)] = np.nan
        return np.stack([found, 1 - found], axis=1)


@pytest.fixture
def pool() -> PoolState:
    """The first 20 records are answered, by three people; record 19 is of the audit slice."""
    state = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))))
    state.add([stored(n, audit=n == 19) for n in range(SIZE)], np.arange(SIZE))
    state.answer({f"r{n}": [answer(f"r{n}", "cat", by=f"p{n % 3}")] for n in range(ANSWERED)})
    return state


def choose(pool: PoolState, best: Sequence[int], own: Sequence[int] = (), k: int = 12, **options: Any) -> Choice:
    """What is chosen where ``best`` come first, in this order, and then the others by number."""
    order = [*best, *(n for n in range(SIZE) if n not in best)]
    scores = np.empty(SIZE, np.float32)
    scores[order] = np.linspace(0.9, 0.1, SIZE)
    chooser = Ranker(options.pop("strategy", First()), 0.0, most=options.pop("most", 3))
    model: Any = Told(scores, options.pop("echo", 0.0), options.pop("learned", ()))
    return chooser.choose(pool, model, pool.candidates(), np.array(own, np.int64), k, np.random.default_rng(0))


def test_as_many_as_are_among_the_best_and_the_rest_is_new(pool: PoolState) -> None:
    found = choose(pool, [30, 2, 31, 5, 32, 33, 34, 35, 36, 37, 38, 39, 4])
    assert found.ask.tolist() == found.again.tolist() == [2, 5]
    assert found.share == 2 / AMONG
    assert found.new.tolist() == [*range(30, 40), 20, 21]


def test_however_good_they_are_half_is_new_and_nothing_of_the_audit_slice(pool: PoolState) -> None:
    found = choose(pool, [19, *range(15)])
    assert found.ask.tolist() == [0, 1, 2, 3, 4]
    assert (len(found.ask), found.share) == (MOST, 0.5)
    assert found.new.tolist() == list(range(20, 32)), "as many new ones as were wanted"


def test_answered_records_are_looked_at_as_if_the_model_had_not_seen_them(pool: PoolState) -> None:
    found = choose(pool, [0, 1, 2, *range(30, 45)], echo=0.8)
    assert found.ask.tolist() == []


def test_what_the_model_can_tell_nothing_about_is_not_asked_but_served_if_it_was(pool: PoolState) -> None:
    pool.ask_again(np.array([7]), 2)
    found = choose(pool, [0, 7, 1, 2, 3, 4, *range(30, 45)], own=[7, 9], learned=[0, 2, 7, 9])
    assert found.ask.tolist() == [9, 1], "what was wanted before, and as many of 1, 3 and 4 as there is room for"
    assert found.again.tolist() == [1, 7, 9]
    assert found.new.tolist() == [*range(30, 42)]


def test_what_waits_already_counts_though_it_is_among_the_best_no_more(pool: PoolState) -> None:
    pool.ask_again(np.array([10, 11, 12]), 2)
    found = choose(pool, [0, 1, 2, 3, 4, *range(30, 40)], own=[10, 11, 12])
    assert found.ask.tolist() == [0, 1]
    assert found.again.tolist() == [0, 1, 10, 11, 12]
    found = choose(pool, list(range(30, 45)), own=[10, 11, 12])
    assert (found.ask.tolist(), found.again.tolist(), found.share) == ([], [10, 11, 12], LEAST_SHARE)


def test_what_could_not_be_asked_comes_before_what_is_new(pool: PoolState) -> None:
    found = choose(pool, [0, *range(30, 45)], own=[7])
    assert found.ask.tolist() == [7]


def test_nobody_is_asked_for_more_than_there_are_people_or_allowed(pool: PoolState) -> None:
    pool.answer({"r0": [answer("r0", "cat", by=f"p{n}") for n in range(3)]})  # by everybody
    pool.answer({"r1": [answer("r1", "cat", by=f"p{n}") for n in range(2)]})
    assert choose(pool, [0, 1, 2, *range(30, 45)], most=5).ask.tolist() == [1, 2]
    assert choose(pool, [0, 1, 2, *range(30, 45)], most=2).ask.tolist() == [2]
    for most in (0, 1):
        assert choose(pool, [0, 1, 2, *range(30, 45)], most=most).ask.tolist() == []


def test_what_somebody_works_on_or_asked_for_by_hand_is_let_be(pool: PoolState) -> None:
    pool.hold(["r0"])
    pool.ask_again(np.array([1]), 2)
    pool.drop(["r2"])
    assert choose(pool, [0, 1, 2, 3, *range(30, 45)]).ask.tolist() == [3]


def test_records_that_want_two_anyway_are_not_asked_about_but_served() -> None:
    pool = PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog"))), overlap=2)
    pool.add([stored(n) for n in range(SIZE)], np.arange(SIZE))
    pool.answer({f"r{n}": [answer(f"r{n}", "cat", by=who) for who in ("ann", "bob")[: 1 + n % 2]] for n in range(10)})
    found = choose(pool, list(range(10)), most=3, k=SIZE)
    assert set(found.new.tolist()) == {*range(0, 10, 2), *range(10, SIZE)}
    assert found.ask.tolist() == [], "two people have answered, and nobody else is known"
    pool.answer({"r9": [answer("r9", "cat", by="eve"), answer("r9", "cat", by="ann")]})
    assert choose(pool, list(range(10)), most=3).ask.tolist() == [1, 3, 5, 7, 9]
    assert choose(pool, list(range(10)), most=2).ask.tolist() == []


def test_a_strategy_that_only_picks_leaves_no_place_empty(pool: PoolState) -> None:
    found = choose(pool, [*range(15)], strategy=Unscored(), k=4)
    assert found.ask.tolist() == [0, 1, 2, 3, 4]
    assert found.new.tolist() == [20, 21, 22, 23]
