"""What every registered strategy must keep to, found by name: a new one is tested without a line here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nextlabel.backend.activation import activation_for
from nextlabel.backend.selection import (
    ArrayVectors,
    Pool,
    QueryStrategy,
    ScoringStrategy,
    Spans,
    choose,
    get_strategy,
    relabels,
    strategy_names,
)
from nextlabel.connectors.errors import EmptyPool, ExhaustedPool
from tests.backend.annotators.crowd import numbered

DIMENSION = 8


@pytest.fixture(params=strategy_names())
def strategy(request: pytest.FixtureRequest) -> QueryStrategy:
    return get_strategy(request.param)


def make_pool(
    n: int, classes: int = 3, *, labelled: int = 20, multi_label: bool = False, dtype: str = "float32"
) -> Pool:
    """A pool that knows all that strategies may ask for, but answers."""
    rng = np.random.default_rng(n * 100 + classes)
    if multi_label:
        probabilities = rng.random((n + labelled, classes), dtype=np.float32)
        targets: np.ndarray = rng.random((labelled, classes)) > 0.5
    else:
        probabilities = rng.dirichlet(np.ones(classes), n + labelled).astype(np.float32)
        targets = rng.integers(0, classes, labelled)
    vectors = ArrayVectors(rng.standard_normal((n, DIMENSION)).astype(dtype))
    known = rng.standard_normal((labelled, DIMENSION)).astype(np.float32)
    return Pool(
        probabilities[:n],
        vectors,
        known,
        targets,
        activation_for(several=multi_label),
        probabilities[n:],
        spans=make_spans(n, rng),
    )


def make_spans(n: int, rng: np.random.Generator) -> Spans:
    """About one span a record: some have none, some several."""
    return Spans(np.sort(rng.integers(0, max(n, 1), n)), rng.integers(0, 3, n), rng.random(n, dtype=np.float32))


def vectors_of(pool: Pool) -> np.ndarray:
    assert isinstance(pool.vectors, ArrayVectors)
    return pool.vectors.array


def with_answers(pool: Pool, answered: int, annotators: int = 4, most: int = 3) -> Pool:
    """The first ``answered`` records have one to ``most`` answers each."""
    rng = np.random.default_rng(answered)
    pairs = [(at, who) for at in range(answered) for who in rng.choice(annotators, rng.integers(1, most + 1), False)]
    records, who = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    classes = pool.probabilities.shape[1]
    values: np.ndarray = rng.integers(0, classes, len(records))
    if pool.activation.several:
        values = rng.random((len(records), classes)) > 0.5
    return replace(pool, opinions=numbered(records, who, values, len(pool), classes))


def ask(strategy: QueryStrategy, pool: Pool, k: int, seed: int = 0) -> np.ndarray:
    chosen = strategy.query(pool, k, np.random.default_rng(seed))
    assert chosen.shape == (k,)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == k, "distinct"
    assert k == 0 or (chosen.min() >= 0 and chosen.max() < len(pool)), "indices into the pool"
    return chosen


def test_it_goes_by_its_name_and_keeps_the_protocol(strategy: QueryStrategy) -> None:
    assert isinstance(strategy, QueryStrategy)
    assert strategy.name in strategy_names()


@pytest.mark.parametrize("k", [0, 1, 3, 50, 299, 300])
def test_it_gives_as_many_as_asked(strategy: QueryStrategy, k: int) -> None:
    ask(strategy, make_pool(300), k)


def test_the_whole_of_a_pool_larger_than_any_shortlist(strategy: QueryStrategy) -> None:
    pool = make_pool(2500)
    assert sorted(ask(strategy, pool, 2500)) == list(range(2500))
    ask(strategy, pool, 2499)


@pytest.mark.parametrize("classes", [1, 2, 3, 20])
@pytest.mark.parametrize("multi_label", [False, True])
def test_any_number_of_classes(strategy: QueryStrategy, classes: int, multi_label: bool) -> None:
    ask(strategy, make_pool(100, classes, multi_label=multi_label), 10)


def test_a_pool_of_one(strategy: QueryStrategy) -> None:
    assert ask(strategy, make_pool(1), 1).tolist() == [0]


def test_nothing_labelled_yet(strategy: QueryStrategy) -> None:
    ask(strategy, make_pool(100, labelled=0), 10)


def test_what_is_labelled_may_come_without_predictions(strategy: QueryStrategy) -> None:
    ask(strategy, replace(make_pool(100), labelled_probabilities=np.empty((0, 0), np.float32)), 10)


def test_an_empty_pool_is_an_error_of_its_own(strategy: QueryStrategy) -> None:
    for k in (0, 1):
        with pytest.raises(EmptyPool):
            strategy.query(make_pool(0), k, np.random.default_rng(0))


def test_asking_for_more_than_is_left_says_how_much_is_left(strategy: QueryStrategy) -> None:
    with pytest.raises(ExhaustedPool, match="6 records asked for, 5 left") as caught:
        strategy.query(make_pool(5), 6, np.random.default_rng(0))
    assert (caught.value.asked, caught.value.left) == (6, 5)


def test_a_negative_number_is_refused(strategy: QueryStrategy) -> None:
    with pytest.raises(ValueError, match="-1"):
        strategy.query(make_pool(5), -1, np.random.default_rng(0))


@pytest.mark.parametrize("k", [5, 200])
def test_the_same_chance_gives_the_same_choice(strategy: QueryStrategy, k: int) -> None:
    assert ask(strategy, make_pool(3000), k, seed=7).tolist() == ask(strategy, make_pool(3000), k, seed=7).tolist()


def test_it_leaves_the_pool_as_it_was(strategy: QueryStrategy) -> None:
    pool = make_pool(50)
    copy = pool.probabilities.copy()
    for array in (pool.probabilities, vectors_of(pool), pool.labelled_vectors):
        array.flags.writeable = False
    ask(strategy, pool, 20)
    assert np.array_equal(pool.probabilities, copy)


def test_half_precision_vectors_as_the_cache_has_them(strategy: QueryStrategy) -> None:
    ask(strategy, make_pool(200, dtype="float16"), 20)


def test_everything_alike(strategy: QueryStrategy) -> None:
    """Equal doubts and equal vectors, so that every comparison is a tie."""
    n = 1500
    same = np.full((n, 4), 0.25, dtype=np.float32)
    ones = np.ones((n, DIMENSION), np.float32)
    spans = Spans(np.arange(n), np.zeros(n, np.int64), np.full(n, 0.5, np.float32))
    pool = Pool(same, ArrayVectors(ones), ones[:3], np.arange(3), labelled_probabilities=same[:3], spans=spans)
    first = ask(strategy, pool, 40, seed=1)
    assert sorted(ask(strategy, pool, n)) == list(range(n))
    assert first.tolist() != ask(strategy, pool, 40, seed=2).tolist(), "a file sorted by class must not decide"
    assert first.max() > n // 2


def test_a_model_that_is_certain_of_everything(strategy: QueryStrategy) -> None:
    certain = np.eye(3, dtype=np.float32)[np.arange(100) % 3]
    pool = make_pool(100)
    ask(strategy, replace(pool, probabilities=certain, labelled_probabilities=certain[:20]), 30)


def test_empty_texts_may_have_vectors_of_zeros(strategy: QueryStrategy) -> None:
    pool = make_pool(60)
    vectors_of(pool)[::2] = 0
    ask(strategy, pool, 60)


def test_broken_numbers_neither_raise_nor_double(strategy: QueryStrategy) -> None:
    pool = make_pool(60)
    pool.probabilities[::7] = np.nan
    vectors_of(pool)[::5] = np.nan
    vectors_of(pool)[1::5] = np.inf
    pool.labelled_probabilities[::3] = np.nan
    pool.labelled_vectors[::4] = np.nan
    assert pool.spans is not None
    pool.spans.scores[::6] = np.nan
    ask(strategy, pool, 60)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("most", [1, 3])
def test_answered_records_are_chosen_only_by_strategies_that_weigh_answers(
    strategy: QueryStrategy, multi_label: bool, most: int
) -> None:
    pool = with_answers(make_pool(80, multi_label=multi_label), 50, most=most)
    chosen = choose(strategy, pool, 60, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == len(chosen)
    if relabels(strategy):
        assert len(chosen) == 60
        assert chosen.min() < 50
    else:
        assert sorted(chosen) == list(range(50, 80)), "all that nobody has answered, and no other"


def test_where_all_is_answered_nothing_is_left_for_the_others(strategy: QueryStrategy) -> None:
    pool = with_answers(make_pool(40), 40)
    assert len(choose(strategy, pool, 5, np.random.default_rng(0))) == (5 if relabels(strategy) else 0)


SCORING = [name for name in strategy_names() if isinstance(get_strategy(name), ScoringStrategy)]


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 20])
def test_a_scoring_strategy_chooses_the_top_of_its_score(name: str, multi_label: bool, classes: int) -> None:
    strategy = get_strategy(name)
    assert isinstance(strategy, ScoringStrategy)
    pool = make_pool(40_000, classes, multi_label=multi_label)  # more than one block of rows
    scores = strategy.score(pool)
    assert (scores.shape, scores.dtype) == ((40_000,), np.dtype(np.float32))
    assert not np.isnan(scores).any()
    ranked = scores[ask(strategy, pool, 100)]
    assert (np.diff(ranked) <= 0).all(), "best first"
    assert np.array_equal(np.sort(ranked), np.sort(scores)[-100:])


def test_there_are_scoring_strategies() -> None:
    assert {"entropy", "margin", "least-confidence"} <= set(SCORING)
