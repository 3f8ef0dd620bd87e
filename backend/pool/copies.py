"""Records of one content that the platform has each by itself: answered apart, learned once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


class Copies:
    """Which positions are copies of each other. Records of equal content have equal lots, and no others have."""

    def __init__(self) -> None:
        self._groups: dict[int, list[int]] = {}  # position -> all positions of its group, in order

    def join(self, lots: npt.NDArray[np.float64], copies: Sequence[float]) -> None:
        """Of all records' ``lots`` [n], these are the lots of ``copies``: whatever has one of them is of a group."""
        by_lot: dict[float, list[int]] = {}
        for at in np.flatnonzero(np.isin(lots, copies)).tolist():
            by_lot.setdefault(float(lots[at]), []).append(at)
        self._groups |= {at: group for group in by_lot.values() if len(group) > 1 for at in group}

    def leave(self, at: int) -> list[int]:
        """The record at ``at`` is a copy no more; returns the positions of its group, without it."""
        group = self._groups.pop(at, [at])
        group.remove(at)
        return group

    def of(self, at: int) -> list[int]:
        """All positions of the group that ``at`` is in, in order; only itself where it has no copy."""
        return self._groups.get(at, [at])

    def groups(self, positions: Iterable[int]) -> list[list[int]]:
        """The groups that ``positions`` are in, each once."""
        return list({group[0]: group for group in map(self.of, positions)}.values())
