"""The gate: who goes live, who stays out, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.learning.evaluation.metrics import right
from nextlabel.backend.learning.gate import Pair, judge


def pair(n: int, old_wrong: int, new_wrong: int) -> Pair:
    """The first ``old_wrong`` and the first ``new_wrong`` of ``n`` answers wrong."""
    return Pair(np.arange(n) >= old_wrong, np.arange(n) >= new_wrong)


@pytest.mark.parametrize(
    ("held_out", "audit", "goes_live"),
    [
        ((40, 8, 4), (60, 10, 5), True),
        ((40, 8, 8), (60, 10, 10), True),  # as good is not worse
        ((40, 4, 8), (60, 10, 5), False),  # fewer held-out answers right
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


def test_several_labels_count_as_right_together():
    truth = np.array([[True, False], [True, True]])
    old = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    new = np.array([[0.9, 0.1], [0.9, 0.9]], np.float32)
    verdict = judge(Pair(right(old, truth), right(new, truth)), pair(0, 0, 0))
    assert (verdict.figures["held_out_before"], verdict.figures["held_out_accuracy"]) == (0.5, 1.0)
