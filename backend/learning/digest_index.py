"""From text digests to row numbers: a million entries in 24 MB, looked up by the thousand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
RECENT = 65_536  # entries kept in a dict before they are sorted in; a dict of a million would take 150 MB

Rows = npt.NDArray[np.int64]
Halves = npt.NDArray[np.uint64]


def digests(texts: Iterable[str]) -> list[bytes]:
    """16 bytes of blake2b for every text; lone surrogates are hashed as they are."""
    return [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest() for text in texts]


class DigestIndex:
    """Maps digests to rows 0, 1, 2 ... in the order in which they were added. Not thread-safe."""

    def __init__(self) -> None:
        self._high: Halves = np.empty(0, dtype=np.uint64)  # sorted
        self._low: Halves = np.empty(0, dtype=np.uint64)
        self._row: Rows = np.empty(0, dtype=np.int64)
        self._recent: dict[bytes, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, data: bytes) -> None:
        """Add digests, one after the other in ``data``. Of equal digests the first row is the one found."""
        if len(data) > RECENT * DIGEST_BYTES:
            self._merge(data)
            return
        for start in range(0, len(data), DIGEST_BYTES):
            self._recent.setdefault(data[start : start + DIGEST_BYTES], self._count)
            self._count += 1
        if len(self._recent) >= RECENT:
            self._merge(b"")

    def find(self, wanted: list[bytes]) -> Rows:
        """Row of every digest, int64 [len(wanted)], -1 where there is none."""
        rows = self._find_sorted(b"".join(wanted))
        if self._recent:
            for place in np.flatnonzero(rows < 0):
                rows[place] = self._recent.get(wanted[place], -1)
        return rows

    def _find_sorted(self, data: bytes) -> Rows:
        high, low = _halves(data)
        rows = np.full(len(high), -1, dtype=np.int64)
        if not len(self._high):
            return rows
        place = np.searchsorted(self._high, high)
        # Two digests may share a high half, so look on as long as it is equal: practically never twice.
        open_ = np.arange(len(high))
        while len(open_):
            inside = place[open_] < len(self._high)
            open_ = open_[inside]
            open_ = open_[self._high[place[open_]] == high[open_]]
            hit = self._low[place[open_]] == low[open_]
            rows[open_[hit]] = self._row[place[open_[hit]]]
            open_ = open_[~hit]
            place[open_] += 1
        return rows

    def _merge(self, data: bytes) -> None:
        new = np.arange(self._count, self._count + len(data) // DIGEST_BYTES, dtype=np.int64)
        high, low = _halves(b"".join(self._recent) + data)
        row = np.concatenate([np.fromiter(self._recent.values(), dtype=np.int64, count=len(self._recent)), new])
        self._count += len(new)
        self._recent.clear()
        high, low, row = (np.concatenate(pair) for pair in ((self._high, high), (self._low, low), (self._row, row)))
        order = np.lexsort((row, low, high))
        self._high, self._low, self._row = high[order], low[order], row[order]


def _halves(data: bytes) -> tuple[Halves, Halves]:
    pairs = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
    return pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)
