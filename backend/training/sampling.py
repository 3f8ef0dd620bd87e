"""Which texts an epoch shows, and in which batches: reproducible from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.data.examples import rarest_label

Rows = npt.NDArray[np.int64]

POOL_BATCHES = 16  # batches whose texts are sorted together: little padding, and other company in every epoch


def strata(targets: Targets) -> Rows:
    """int64 [n]: the label of each row, or the rarest of its labels, -1 for none."""
    return rarest_label(targets)


def epoch_rows(targets: Targets, resample: Literal["none", "under", "over"], rng: np.random.Generator) -> Rows:
    """Rows that one epoch shows, int64 [m] in random order; m is the same in every epoch.

    ``under`` takes as many of every stratum as the rarest has, others in each epoch. ``over`` takes all, and of the
    rarer ones so many again as the most frequent has: as evenly as can be, the last round drawn. Multi-label rows
    belong to their rarest label, so labels become nearly, not exactly, equally frequent.
    """
    if resample == "none" or not len(targets):
        return rng.permutation(len(targets))
    groups = [np.flatnonzero(strata(targets) == value) for value in np.unique(strata(targets))]
    size = (min if resample == "under" else max)(map(len, groups))
    drawn = []
    for group in groups:
        rounds, rest = divmod(size, len(group))
        drawn += [group] * rounds + [rng.permutation(group)[:rest]]
    return rng.permutation(np.concatenate(drawn))


class EpochBatches:
    """Batches of row numbers, texts of like length together: a batch is only as fast as its longest text.

    ``lengths`` are token counts. Iterating gives the batches of the epoch set last, the longest one first: if
    memory does not suffice, it shows at once. ``set_epoch`` chooses the epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        targets: Targets,
        *,
        batch_size: int,
        resample: Literal["none", "under", "over"] = "none",
        seed: int = 0,
    ) -> None:
        self._lengths = np.asarray(lengths, np.int64)
        self._targets, self._size, self._resample, self._seed = targets, batch_size, resample, seed
        self._epoch = 0
        self._shown = len(epoch_rows(targets, resample, np.random.default_rng(0)))

    @property
    def rows(self) -> int:
        """How many rows there are to choose from."""
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._shown // self._size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        rows = epoch_rows(self._targets, self._resample, rng)
        step, batches = self._size * POOL_BATCHES, []
        for start in range(0, len(rows), step):
            pool = rows[start : start + step]
            pool = pool[np.argsort(-self._lengths[pool], kind="stable")]
            batches += [pool[at : at + self._size] for at in range(0, len(pool), self._size)]
        order = rng.permutation(len(batches)).tolist()
        longest = max(order, key=lambda at: int(self._lengths[batches[at][0]]) * len(batches[at]))
        order.remove(longest)
        for at in [longest, *order]:
            yield batches[at].tolist()
