"""What a consensus is, the majority vote, and the choice between methods."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from nextlabel.connectors.errors import ConfigError, LearningError

from .base import Consensus, majority_labels
from .crowdlab import crowdlab
from .dawid_skene import dawid_skene
from .opinions import Doubles, Opinions

Method = Literal["majority", "crowdlab", "dawid-skene"]
METHODS: tuple[Method, ...] = get_args(Method)


def majority(opinions: Opinions, predicted: Doubles | None = None) -> Consensus:
    """Every annotator has one vote. ``probabilities`` are the shares of votes; ties as in majority_labels."""
    votes = opinions.votes
    counts = votes.sum(axis=1, keepdims=True)
    shares = np.where(counts > 0, votes / np.maximum(counts, 1), 1 / len(opinions.labels))
    return Consensus(shares, majority_labels(opinions, predicted))


def agree(opinions: Opinions, method: Method = "majority", predicted: Doubles | None = None) -> Consensus:
    """The consensus by one of METHODS.

    ``predicted`` float [n, c]: what a model thinks of the records that it was not trained on, thus out-of-fold;
    None while there is no model. CROWDLAB without it, or before any record has two answers, is the majority.
    Raises ConfigError for an unknown method, LearningError if ``predicted`` has another shape.
    """
    if predicted is not None:
        predicted = np.asarray(predicted, np.float64)
        if predicted.shape != (opinions.size, len(opinions.labels)):
            raise LearningError(
                f"predictions of shape {list(predicted.shape)} don't go with {opinions.size} records and "
                f"{len(opinions.labels)} labels"
            )
    if method == "majority":
        return majority(opinions, predicted)
    if method == "dawid-skene":
        return dawid_skene(opinions, predicted)
    if method == "crowdlab":
        if predicted is None or not (opinions.per_record > 1).any() or len(opinions.labels) < 2:
            return majority(opinions, predicted)
        return crowdlab(opinions, predicted)
    raise ConfigError(f"there is no consensus {method!r}; there are {', '.join(METHODS)}")
