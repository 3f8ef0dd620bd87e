"""How far annotators agree, with intervals: over pairs of people, and beyond chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.evaluation.intervals import RESAMPLES, Interval, draw, percentiles

Values = npt.NDArray[np.float64]

LEAST_REPEATED = 20  # records with two answers, below which no share is worth its interval


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over ``records`` that have two answers or more.

    ``pairs``: how often two people who answered the same record said the same. ``alpha``: Krippendorff's alpha for
    nominal data, 1 for full agreement and 0 for that of chance; nan where all answers are the same.
    """

    records: int
    pairs: Interval
    alpha: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"records": self.records, "pairs": self.pairs.to_json(), "alpha": self.alpha.to_json()}


def agreement(opinions: Opinions, seed: int = 0) -> Agreement | None:
    """The agreement, None with fewer than LEAST_REPEATED repeated records.

    Intervals: 95% percentiles over resampled records.
    """
    repeated = np.flatnonzero(opinions.per_record > 1)
    if len(repeated) < LEAST_REPEATED:
        return None
    votes = opinions.take(repeated).votes.astype(np.float64)
    counts = draw(len(votes), RESAMPLES, np.random.default_rng(seed)).astype(np.float64)
    whole = np.ones((1, len(votes)))
    return Agreement(
        len(votes),
        _around(pair_agreement(votes, whole), pair_agreement(votes, counts)),
        _around(krippendorff(votes, whole), krippendorff(votes, counts)),
    )


def pair_agreement(votes: Values, counts: Values) -> Values:
    """float64 [k]: of all pairs of answers to one record, those that are equal.

    ``votes`` float64 [r, c]: answers by label, two per record at least; ``counts`` float64 [k, r]: how often each
    record counts.
    """
    of_record = votes.sum(axis=1)
    same, pairs = (votes * (votes - 1)).sum(axis=1), of_record * (of_record - 1)
    found: Values = (counts @ same) / (counts @ pairs)
    return found


def krippendorff(votes: Values, counts: Values) -> Values:
    """float64 [k]: Krippendorff's alpha for nominal data (Krippendorff, Content Analysis, 2004, ch. 11).

    Arguments as of :func:`pair_agreement`. nan where only one label was given: chance can't disagree then.
    """
    of_record = votes.sum(axis=1)
    apart = (of_record**2 - (votes**2).sum(axis=1)) / (of_record - 1)
    total, of_label = counts @ of_record, counts @ votes
    expected = (total**2 - (of_label**2).sum(axis=1)) / (total - 1)
    found: Values = np.full(len(counts), np.nan)
    defined = expected > 0
    found[defined] = 1 - (counts @ apart)[defined] / expected[defined]
    return found


def _around(whole: Values, drawn: Values) -> Interval:
    low, high = percentiles(drawn)
    return Interval(float(whole[0]), low, high) if whole[0] == whole[0] else Interval(*[float("nan")] * 3)
