"""New record or second opinion: what is chosen, and what is never asked."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.selection import Pool
from nextlabel.backend.selection.relabelling import ActiveLab, Relabelling
from nextlabel.backend.selection.uncertainty import Margin
from tests.backend.annotators.crowd import numbered

RNG = np.random.default_rng(0)
POLICY = Relabelling(ActiveLab(), most=3)


def pool(new: float = 0.9) -> Pool:
    """Records 0-9 have two equal answers, 10-14 two that differ, 15 three that differ; 16-35 none, at ``new``."""
    said = [(n, who, n % 2) for n in range(10) for who in (0, 1)]
    said += [(n, who, who) for n in range(10, 15) for who in (0, 1)] + [(15, who, who % 2) for who in (0, 1, 2)]
    p = np.full(36, new)
    p[:10] = np.where(np.arange(10) % 2, 0.1, 0.9)
    p[10:16] = 0.5
    record, annotator, label = zip(*said, strict=True)
    return Pool(np.stack([p, 1 - p], axis=1).astype(np.float32), opinions=numbered(record, annotator, label, 36, 2))


def test_contested_records_are_asked_about_again_and_settled_ones_are_not() -> None:
    decision = POLICY.decide(pool(new=0.95), 5, RNG, people=4)
    assert set(decision.chosen) == set(decision.again) == set(range(10, 15))
    assert decision.opinions.tolist() == [3] * 5
    fresh = POLICY.decide(pool(new=0.5), 5, RNG, people=4)
    assert set(fresh.chosen) <= set(range(16, 36))
    assert fresh.again.size == fresh.opinions.size == 0


def test_nobody_is_asked_twice_and_nothing_more_often_than_allowed() -> None:
    everything = POLICY.decide(pool(), 36, RNG, people=4)
    assert 15 not in everything.chosen  # it has three
    assert len(everything.chosen) == 35
    two = POLICY.decide(pool(), 36, RNG, people=2)  # both have answered whatever was answered
    assert set(two.chosen) == set(range(16, 36))
    assert 15 in Relabelling(POLICY.strategy, most=4).decide(pool(), 36, RNG, people=4).chosen


def test_what_waits_for_a_second_opinion_is_not_asked_for_again() -> None:
    waiting = np.array([10, 11, 12])
    decision = POLICY.decide(pool(new=0.95), 4, RNG, people=4, outstanding=waiting)
    assert not set(decision.chosen) & set(waiting.tolist())
    assert len(decision.chosen) == 4
    assert len(decision.again) == 1  # four places, three of them spoken for
    assert POLICY.decide(pool(), 3, RNG, people=4, outstanding=waiting).again.size == 0


def test_when_all_have_been_asked_there_is_nothing_left() -> None:
    answered = pool().only(np.arange(10))
    decision = POLICY.decide(answered, 5, RNG, people=2)
    assert decision.chosen.size == decision.again.size == 0


def test_a_policy_that_could_not_work_is_refused() -> None:
    with pytest.raises(ValueError, match="allow 2 or more"):
        Relabelling(POLICY.strategy, most=1)
    with pytest.raises(ValueError, match="margin does not weigh"):
        Relabelling(Margin(), most=3)
