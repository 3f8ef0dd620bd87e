"""Strategies that only tests have: one that peeks at the answers, one that is random under another name, bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from nextlabel.backend.selection import Pool, Random, registry
from nextlabel.backend.simulation import Material


class Peeking:
    """Knows the truth by the vectors, and takes the class that has the fewest labels."""

    name = "peeking"

    def __init__(self, material: Material) -> None:
        self._truth = {row.tobytes(): int(one) for row, one in zip(material.vectors, material.truth, strict=True)}

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        assert pool.vectors is not None
        truth = np.array([self._truth[row.tobytes()] for row in pool.vectors.take(np.arange(len(pool)))])
        counts = np.bincount(np.asarray(pool.labelled_targets, np.int64), minlength=pool.probabilities.shape[1])
        left = rng.permutation(len(pool)).tolist()
        picks = []
        for _ in range(k):
            best = min(left, key=lambda row: counts[truth[row]])
            left.remove(best)
            counts[truth[best]] += 1
            picks.append(best)
        return np.array(picks, np.int64)


class Twice:
    """Asks for one record twice."""

    name = "twice"

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(k, np.int64)


@contextmanager
def registered(**factories: object) -> Iterator[None]:
    """Strategies under these names, for a while; ``_`` in a name stands for ``-``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, factory in factories.items():
            patch.setitem(registry._factories, name.replace("_", "-"), factory)
        yield


def twin() -> Random:
    return Random()
