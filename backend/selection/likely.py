"""For classes that hardly ever occur: ask about the records that most likely belong to one.

Doubt is a poor guide there, because a model that has seen five positives among a thousand doubts nearly nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import SelectionError

from .base import Floats, Indices, Pool, check_request, top_k
from .registry import register

RAREST = -1
"""As ``positive``: the label that the model expects least often in the pool."""


def positive_label(pool: Pool, positive: int) -> int:
    """The column of ``pool.probabilities`` that is searched for. Raises SelectionError if there is no such label."""
    classes = pool.probabilities.shape[1]
    if positive >= classes:
        raise SelectionError(f"positive is label number {positive}, but there are {classes}, counted from 0")
    if positive != RAREST:
        return positive
    expected = np.array([np.nan_to_num(column).mean(dtype=np.float64) for column in pool.probabilities.T])
    return int(expected.argmin())


def found_positives(pool: Pool, positive: int) -> npt.NDArray[np.bool_]:
    """bool [m]: which labelled records have the label."""
    targets: npt.NDArray[Any] = pool.labelled_targets
    if len(targets) == 0:
        return np.zeros(0, dtype=bool)
    return pool.activation.flags(targets, pool.probabilities.shape[1])[:, positive]


def check_positive(positive: int) -> None:
    """Raises ValueError for what can't be a label's number."""
    if positive < RAREST:
        raise ValueError("positive is the number of a label, counted from 0, or -1 for the rarest")


@register("certainty")
@dataclass(frozen=True, slots=True)
class Certainty:
    """The records most likely to have the label ``positive`` (relevance sampling: Lewis and Gale, SIGIR 1994, §4).

    ``positive``: the label's number, counted from 0; -1 takes the one that the model expects least often.
    """

    positive: int = RAREST

    name: ClassVar[str] = "certainty"

    def __post_init__(self) -> None:
        check_positive(self.positive)

    def score(self, pool: Pool) -> Floats:
        """float32 [n] in [0, 1]: the probability of the label; 0 where the model gives no number."""
        column = np.asarray(pool.probabilities[:, positive_label(pool, self.positive)], dtype=np.float32)
        return np.nan_to_num(column)

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the likeliest first, ties in random order."""
        check_request(pool, k)
        return top_k(self.score(pool), k, rng)
