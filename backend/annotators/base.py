"""What several annotators say together: the consensus, and the majority vote that every method starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .opinions import Doubles, Indices, Opinions


def _nothing() -> Doubles:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the annotators of each record say together.

    ``probabilities`` float64 [n, c]: how likely each label is; rows sum to 1, and are uniform for a record without
    an answer. ``labels`` int64 [n]: the label agreed on, -1 without an answer. ``weights`` float64 [annotators] and
    ``model_weight``: how much each annotator and the model counted against each other (CROWDLAB only; empty and 0).
    """

    probabilities: Doubles
    labels: Indices
    weights: Doubles = field(default_factory=_nothing)
    model_weight: float = 0.0

    @property
    def quality(self) -> Doubles:
        """float64 [n]: how likely the label agreed on is; 1 / c for a record without an answer."""
        rows = np.arange(len(self.labels))
        quality: Doubles = self.probabilities[rows, np.maximum(self.labels, 0)]
        return quality


def majority_labels(opinions: Opinions, predicted: Doubles | None = None) -> Indices:
    """int64 [n]: the label given most often, -1 without an answer.

    Ties go to the label that the model, ``predicted`` [n, c], finds likelier; then to the one given less often in all;
    then to the one whose supporters agree more with the majority elsewhere; then to the first. It is the order of
    cleanlab's ``get_majority_vote_label``, which draws lots in the end. Where the times of answers are known, as in the
    log, a tie goes to the newest before all this: see Question.consensus.
    """
    votes = opinions.votes
    tied = (votes == votes.max(axis=1, keepdims=True)) & (votes.max(axis=1, keepdims=True) > 0)
    answered = tied.any(axis=1)
    settled = answered & (tied.sum(axis=1) == 1)
    labels = np.where(answered, tied.argmax(axis=1), -1)
    if predicted is not None:
        tied &= predicted == np.where(tied, predicted, -np.inf).max(axis=1, keepdims=True)
    total = np.broadcast_to(votes.sum(axis=0), votes.shape)
    tied &= total == np.where(tied, total, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
    if (tied.sum(axis=1) > 1).any():
        support = _support(opinions, labels, settled)
        tied &= support == np.where(tied, support, -np.inf).max(axis=1, keepdims=True)
    return np.where(answered, tied.argmax(axis=1), -1)


def _support(opinions: Opinions, labels: Indices, settled: npt.NDArray[np.bool_]) -> Doubles:
    """float64 [n, c]: mean agreement with the settled majorities of those who gave each label, 0 for nobody."""
    counted = settled[opinions.record]
    agrees = counted & (opinions.label == labels[opinions.record])
    people = len(opinions.annotators)
    answers = np.bincount(opinions.annotator, counted, people)
    with np.errstate(invalid="ignore"):
        agreement = np.bincount(opinions.annotator, agrees, people) / answers
    known = answers > 0
    agreement[~known] = agreement[known].mean() if known.any() else 1.0
    classes = len(opinions.labels)
    sums = np.bincount(
        opinions.record * classes + opinions.label, agreement[opinions.annotator], opinions.size * classes
    )
    support: Doubles = sums.reshape(-1, classes) / np.maximum(opinions.votes, 1)
    return support
