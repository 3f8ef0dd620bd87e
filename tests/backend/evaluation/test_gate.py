"""The gate: who goes live, who stays out, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.evaluation.comparison import Pair, best_candidate, judge
from nextlabel.backend.metrics import right


def pair(n: int, old_wrong: int, new_wrong: int) -> Pair:
    """The first ``old_wrong`` and the first ``new_wrong`` of ``n`` answers wrong."""
    return Pair(np.arange(n) >= old_wrong, np.arange(n) >= new_wrong)


@pytest.mark.parametrize(
    ("held_out", "audit", "goes_live"),
    [
        ((40, 8, 4), (60, 10, 5), True),
        ((40, 8, 8), (60, 10, 10), True),  # as good is not worse
        ((40, 4, 5), (60, 10, 5), True),  # one held-out answer less: chance
        ((40, 4, 6), (60, 10, 5), False),  # two less, and none gained: more than the root of two
        ((40, 4, 8), (60, 10, 5), False),
        ((40, 8, 4), (60, 5, 15), False),  # shown to be worse on the audit slice
        ((40, 8, 4), (60, 5, 7), True),  # two of sixty more wrong may be chance
        ((0, 0, 0), (60, 5, 5), True),
        ((40, 8, 4), (0, 0, 0), True),
        ((0, 0, 0), (0, 0, 0), False),  # nothing to measure on
    ],
)
def test_who_goes_live(held_out, audit, goes_live):
    assert judge(pair(*held_out), pair(*audit)).goes_live is goes_live


def test_the_reason_names_both_figures_and_the_test():
    verdict = judge(pair(40, 8, 4), pair(60, 5, 15))
    assert verdict.reason == (
        "36 of 40 held-out answers right, 32 before; "
        "45 of 60 audit answers right, 55 before (McNemar, one-sided: p 0.00098)"
    )
    assert verdict.figures["audit_p_worse"] == pytest.approx(2**-10)
    assert verdict.figures["held_out_accuracy"] == pytest.approx(0.9)


def test_what_passes_with_fewer_held_out_answers_right_says_why():
    assert judge(pair(40, 4, 5), pair(0, 0, 0)).reason == (
        "35 of 40 held-out answers right, 36 before (within one standard error)"
    )


def test_what_is_gained_counts_against_what_is_lost():
    """Three lost and one gained is one standard error, four lost and one gained is more."""
    before, three, four = hits(20, 0), hits(20, 1, 2, 3), hits(20, 1, 2, 3, 4)
    assert judge(Pair(before, three), pair(0, 0, 0)).goes_live
    assert not judge(Pair(before, four), pair(0, 0, 0)).goes_live


def test_several_labels_count_as_right_together():
    truth = np.array([[True, False], [True, True]])
    old = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    new = np.array([[0.9, 0.1], [0.9, 0.9]], np.float32)
    verdict = judge(Pair(right(old, truth), right(new, truth)), pair(0, 0, 0))
    assert (verdict.figures["held_out_before"], verdict.figures["held_out_accuracy"]) == (0.5, 1.0)


def hits(n: int, *wrong: int) -> np.ndarray:
    return ~np.isin(np.arange(n), wrong)


@pytest.mark.parametrize(
    ("candidates", "best"),
    [
        ({0: hits(15, 1, 2, 3), 1: hits(15, 1, 2)}, 0),  # one more right: chance
        ({0: hits(15, 1, 2, 3), 1: hits(15, 1)}, 1),  # two gained, none lost: more than the root of two
        ({0: hits(15, 1, 2, 3), 1: hits(15, 4)}, 0),  # three gained, one lost: just one standard error
        ({0: hits(15, 1, 2, 3, 5), 1: hits(15, 4)}, 1),
        ({0: hits(15), 1: hits(15)}, 0),
        ({1: hits(15, 1), 2: hits(15, 1)}, 1),  # candidate 0 could not be trained
        ({2: hits(9, 1), 0: hits(9, 1)}, 0),  # in whatever order they are given
        ({0: hits(20, 1, 2, 3, 4), 1: hits(20, 1, 2), 2: hits(20)}, 2),  # each against the best so far
        ({0: hits(0), 1: hits(0)}, 0),
    ],
)
def test_a_later_candidate_has_to_be_better_by_more_than_chance(candidates, best):
    assert best_candidate(candidates) == best


def test_without_candidates_there_is_none_to_choose():
    with pytest.raises(ValueError, match="no candidate"):
        best_candidate({})
