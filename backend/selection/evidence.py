"""What is known of some records of a pool beyond a prediction: spans that a model proposes.

Sparse, one entry a span, in any order: most records have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


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
        lengths = [len(self.labels), len(self.scores)]
        if lengths != [len(self)] * 2:
            raise ValueError(f"arrays of {len(self)} and {lengths} entries don't go together")
        if len(self) and not (self.records.min() >= 0 and self.records.max() < size):
            raise ValueError(f"there are {size} records; indices run from {self.records.min()} to {self.records.max()}")

    def only(self, indices: Indices, size: int) -> Spans:
        """Those in ``indices``, int64 [k], of a pool of ``size`` records, numbered as they stand there."""
        places = np.full(size, -1, dtype=np.int64)
        places[indices] = np.arange(len(indices))
        records = places[self.records]
        kept = records >= 0
        return Spans(records[kept], self.labels[kept], self.scores[kept])
