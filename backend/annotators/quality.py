"""How good each annotator is, said with the care that few answers ask for.

An answer is held against what the *others* said about the same record, so nobody is measured with their own voice. The
share that agrees is shrunk towards that of everybody (a beta-binomial model whose prior is learned from all of them;
Gelman et al., "Bayesian Data Analysis", 5.3), and comes with an interval.
Agreement is not accuracy: where the others are wrong, who is right disagrees.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .opinions import Doubles, Opinions

LEAST_RANKED = 20  # comparisons, below which an annotator has no rank
LEAST_CONFUSION = 20  # comparisons where the others agree on a label, below which a row of the confusion is left out
STRENGTH = 20.0  # comparisons that the prior counts for while annotators don't tell more
DOUBT = 1.0  # standard deviation of the logarithm of that guess
MEANS = np.linspace(0.02, 0.98, 49)  # what the prior's mean may be, all alike
STRENGTHS = np.geomspace(2.0, 1000.0, 25)  # and what it may count for


@dataclass(frozen=True, slots=True)
class Prior:
    """The beta distribution of annotators' agreement: its mean, and how many comparisons it counts for."""

    mean: float
    strength: float


@dataclass(frozen=True, slots=True)
class Annotator:
    """One annotator: ``answers`` in all, ``compared`` of them on records where the others have a majority.

    ``agreed`` of these agree with it; ``agreement`` is that share after shrinking, in a 95% interval ``low`` to
    ``high``. ``rank`` 1 is the best; None for fewer than LEAST_RANKED comparisons. ``confusion``: label of the others
    -> label given -> share, only for labels with LEAST_CONFUSION comparisons.
    """

    name: str
    answers: int
    compared: int
    agreed: int
    agreement: float
    low: float
    high: float
    rank: int | None
    confusion: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Quality:
    """All annotators, the most agreeing first and the unranked last, and what holds for the crowd.

    ``pair_agreement``: how often two people who answered one record said the same; None if no record has two answers.
    """

    annotators: tuple[Annotator, ...]
    prior: Prior | None
    records: int
    answers: int
    repeated: int
    pair_agreement: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def leave_one_out(opinions: Opinions) -> npt.NDArray[np.int64]:
    """int64 [o]: the majority among the others who answered the record of each answer; -1 where it is tied or empty.

    Of a record that an adjudicator settled, it is that answer.
    """
    votes = opinions.votes[opinions.record]
    votes[np.arange(len(opinions)), opinions.label] -= 1
    most = votes.max(axis=1, keepdims=True)
    clear = (votes == most).sum(axis=1) == 1
    others = np.where(clear & (most[:, 0] > 0), votes.argmax(axis=1), -1)
    if opinions.truth is None:
        return others
    truth = opinions.truth[opinions.record]
    return np.where(truth >= 0, truth, others)


def annotator_quality(opinions: Opinions) -> Quality:
    """The report on everybody who answered."""
    others = leave_one_out(opinions)
    people, answers = len(opinions.annotators), opinions.per_annotator
    compared = np.bincount(opinions.annotator, others >= 0, people).astype(np.int64)
    agreed = np.bincount(opinions.annotator, others == opinions.label, people).astype(np.int64)
    means, lows, highs, prior = shrunk(agreed, compared)
    ranks = _ranks(means, compared)
    found = [
        Annotator(
            opinions.annotators[at],
            int(answers[at]),
            int(compared[at]),
            int(agreed[at]),
            float(means[at]),
            float(lows[at]),
            float(highs[at]),
            ranks.get(at),
            _confusion(opinions, others, at),
        )
        for at in np.flatnonzero(answers)
    ]
    found.sort(key=lambda one: (one.rank is None, one.rank or 0, -one.compared, one.name))
    repeated = int((opinions.per_record > 1).sum())
    return Quality(
        tuple(found),
        prior if compared.any() else None,
        int((opinions.per_record > 0).sum()),
        len(opinions),
        repeated,
        float(pair_agreement(opinions.votes.astype(np.float64), np.ones((1, opinions.size)))[0]) if repeated else None,
    )


def shrunk(agreed: npt.NDArray[np.int64], compared: npt.NDArray[np.int64]) -> tuple[Doubles, Doubles, Doubles, Prior]:
    """Posterior mean and 95% interval of everybody's agreement, float64 [annotators] each, and the crowd's prior.

    Beta-binomial, averaged over what the prior may be: a few annotators can't tell how much people differ, and the
    likeliest prior alone would make everybody's interval too narrow. The posterior is summed up by the beta
    distribution with its mean and variance.
    """
    from scipy.special import betaln
    from scipy.stats import beta

    mean, strength = (grid.ravel() for grid in np.meshgrid(MEANS, STRENGTHS))
    a, b = mean * strength, (1 - mean) * strength
    fits = betaln(agreed[:, None] + a, (compared - agreed)[:, None] + b) - betaln(a, b)
    belief = fits.sum(axis=0) - 0.5 * (np.log(strength / STRENGTH) / DOUBT) ** 2
    belief = np.exp(belief - belief.max())
    belief /= belief.sum()
    total = compared[:, None] + strength
    first = (agreed[:, None] + a) / total
    second = first * (agreed[:, None] + a + 1) / (total + 1)
    means, squares = first @ belief, second @ belief
    size = (means - squares) / (squares - means**2)  # a + b of the beta distribution with these moments
    low, high = (beta.ppf(edge, means * size, (1 - means) * size) for edge in (0.025, 0.975))
    return means, low, high, Prior(float(mean @ belief), float(np.exp(np.log(strength) @ belief)))


def _ranks(means: Doubles, compared: npt.NDArray[np.int64]) -> dict[int, int]:
    """Annotator -> rank, of those with enough comparisons."""
    enough = np.flatnonzero(compared >= LEAST_RANKED)
    order = enough[np.argsort(-means[enough], kind="stable")]
    return {int(at): place for place, at in enumerate(order, 1)}


def _confusion(opinions: Opinions, others: npt.NDArray[np.int64], at: int) -> dict[str, dict[str, float]]:
    mine = opinions.annotator == at
    found = {}
    for label, name in enumerate(opinions.labels):
        given = opinions.label[mine & (others == label)]
        if len(given) >= LEAST_CONFUSION:
            shares = np.bincount(given, minlength=len(opinions.labels)) / len(given)
            found[name] = {other: round(float(share), 4) for other, share in zip(opinions.labels, shares, strict=True)}
    return found


def pair_agreement(votes: Doubles, counts: Doubles) -> Doubles:
    """float64 [k]: of all pairs of answers to one record, those that are equal.

    ``votes`` float64 [r, c]: answers by label, two per record at least; ``counts`` float64 [k, r]: how often each
    record counts.
    """
    of_record = votes.sum(axis=1)
    same, pairs = (votes * (votes - 1)).sum(axis=1), of_record * (of_record - 1)
    found: Doubles = (counts @ same) / (counts @ pairs)
    return found


def krippendorff(votes: Doubles, counts: Doubles) -> Doubles:
    """float64 [k]: Krippendorff's alpha for nominal data (Krippendorff, Content Analysis, 2004, ch. 11).

    Arguments as of :func:`pair_agreement`. nan where only one label was given: chance can't disagree then.
    """
    of_record = votes.sum(axis=1)
    apart = (of_record**2 - (votes**2).sum(axis=1)) / (of_record - 1)
    total, of_label = counts @ of_record, counts @ votes
    expected = (total**2 - (of_label**2).sum(axis=1)) / (total - 1)
    found: Doubles = np.full(len(counts), np.nan)
    defined = expected > 0
    found[defined] = 1 - (counts @ apart)[defined] / expected[defined]
    return found
