"""What is known of some records of a pool beyond a prediction: answers of annotators, spans that a model proposes.

Both are sparse, one entry an answer or a span, in any order: most records have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def _places(indices: Indices, size: int) -> Indices:
    """int64 [size]: where each record of a pool stands among ``indices``, -1 for one that does not."""
    places = np.full(size, -1, dtype=np.int64)
    places[indices] = np.arange(len(indices))
    return places


def _check(size: int, records: Indices, *others: npt.NDArray[Any]) -> None:
    if any(len(other) != len(records) for other in others):
        raise ValueError(f"arrays of {len(records)} and {[len(other) for other in others]} entries don't go together")
    if len(records) and not (records.min() >= 0 and records.max() < size):
        raise ValueError(f"there are {size} records; indices run from {records.min()} to {records.max()}")


@dataclass(frozen=True, slots=True)
class Opinions:
    """Annotators' current answers about records of a pool, one entry an annotator and record.

    ``records`` int64 [a], indices into the pool; ``annotators`` int64 [a], any numbers from 0; ``answers`` int64 [a],
    classes, or bool [a, c] for several labels.
    """

    records: Indices
    annotators: Indices
    answers: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.records)

    def check(self, size: int) -> None:
        """Raise ValueError unless they are about a pool of ``size`` records."""
        _check(size, self.records, self.annotators, self.answers)

    def answered(self, size: int) -> npt.NDArray[np.bool_]:
        """bool [size]: which records of the pool somebody has answered."""
        return np.bincount(self.records, minlength=size).astype(np.bool_)

    def only(self, indices: Indices, size: int) -> Opinions:
        """Those about ``indices``, int64 [k], of a pool of ``size`` records, numbered as they stand there."""
        records = _places(indices, size)[self.records]
        kept = records >= 0
        return Opinions(records[kept], self.annotators[kept], self.answers[kept])


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans that a model proposes in the records of a pool.

    ``records`` int64 [s], indices into the pool; ``labels`` int64 [s]; ``scores`` float32 [s], the
    probability of each.
    """

    records: Indices
    labels: Indices
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.records)

    def check(self, size: int) -> None:
        """Raise ValueError unless they are about a pool of ``size`` records."""
        _check(size, self.records, self.labels, self.scores)

    def only(self, indices: Indices, size: int) -> Spans:
        """Those in ``indices``, int64 [k], of a pool of ``size`` records, numbered as they stand there."""
        records = _places(indices, size)[self.records]
        kept = records >= 0
        return Spans(records[kept], self.labels[kept], self.scores[kept])
