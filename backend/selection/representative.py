"""For the start, when a model's doubts mean little: records that stand for many others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, check_request
from .diversity import nearest_labelled
from .registry import register

_BLOCK = 32


@register("representative")
@dataclass(frozen=True, slots=True)
class Representative:
    """Facility location: each pick adds the most to how well the pool is covered by labelled records and picks.

    Wei, Iyer and Bilmes, Submodularity in Data Subset Selection and Active Learning, ICML 2015. Works on a
    random ``subset`` of the pool (memory: 4 bytes x subset²); beyond that many picks it goes on at random.
    """

    subset: int = 2_000

    name: ClassVar[str] = "representative"

    def __post_init__(self) -> None:
        if self.subset < 1:
            raise ValueError("subset must be at least 1")

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the most representative first."""
        check_request(pool, k)
        order = rng.permutation(len(pool)).astype(np.int64, copy=False)
        among, rest = order[: self.subset], order[self.subset :]
        vectors = pool.unit_vectors(among)
        with one_blas_thread():
            picks = _cover(vectors, min(k, len(among)), np.maximum(nearest_labelled(pool, vectors, rng), 0))
        return np.concatenate([among[picks], rest[: k - len(picks)]])


def _cover(vectors: Floats, k: int, covered: Floats) -> Indices:
    """int64 [k]: greedily the largest sum of ``max(cosine - covered, 0)``; lazy, as such gains can only fall."""
    cosines = np.maximum(vectors @ vectors.T, 0)
    gains = np.maximum(cosines - covered, 0).sum(axis=1)
    seen = np.zeros(len(vectors), dtype=np.int64)
    chosen = np.empty(k, dtype=np.int64)
    for count in range(k):
        best = int(np.argmax(gains))
        while seen[best] < count:
            size = min(_BLOCK, len(gains))
            block = np.argpartition(gains, len(gains) - size)[len(gains) - size :]
            block = block[(seen[block] < count) & (gains[block] > -np.inf)]
            block = np.append(block, best)  # among ties it may lie outside
            gains[block] = np.maximum(cosines[block] - covered, 0).sum(axis=1)
            seen[block] = count
            best = int(np.argmax(gains))
        chosen[count] = best
        covered = np.maximum(covered, cosines[best])
        gains[best] = -np.inf
    return chosen
