"""Records by how near they lie to each other: those that are like no other, and near copies.

Outliers are cleanlab's (Kuan and Mueller, "Back to the Basics: Revisiting Out-of-Distribution Detection Baselines",
2022), by the mean distance to the ten nearest. Where to draw the line is cleanlab's Datalab's rule, for both.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import MissingExtra

K = 10
OUTLIER = 0.37037
"""Datalab's: an outlier is further away than the upper quartile by 1 / this - 1 times the quartiles' distance."""
NEAR = 0.13
"""Datalab's: near copies are nearer to each other than this share of the usual distance to the nearest."""
ROUNDING = 1e-5
"""Cosine distances below this are none: vectors are kept as half floats."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """The record at ``record``, and how much like the others it is: ``score`` in [0, 1], 0 like none."""

    record: int
    score: float


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Near copies, two or more ``records``, with different answers; ``likeness``: the least of their links' cosines."""

    records: tuple[int, ...]
    likeness: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Of n records: ``scores`` float64 [n] as of Outlier, and each pair's ``left`` and ``right`` with its ``distance``.

    Pairs are near copies. ``outlying`` bool [n].
    """

    scores: npt.NDArray[np.float64]
    outlying: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]

    def outliers(self) -> list[Outlier]:
        """Those that are like no other, the least like the others first."""
        found = np.flatnonzero(self.outlying)
        order = found[np.argsort(self.scores[found], kind="stable")]
        return [Outlier(int(at), float(self.scores[at])) for at in order]

    def duplicates(self, answers: Sequence[Any]) -> list[Duplicate]:
        """Groups of near copies of which the ``answers`` [n], which can be hashed, differ; the likest first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        codes: dict[Any, int] = {}
        coded = np.array([codes.setdefault(one, len(codes)) for one in answers], np.int64)
        size = len(answers)
        links = coo_array((np.ones(len(self.left), np.bool_), (self.left, self.right)), shape=(size, size))
        part_of = connected_components(links, directed=False)[1]
        furthest = np.zeros(size)
        np.maximum.at(furthest, part_of[self.left], self.distance)
        members: dict[int, list[int]] = {}
        for at in np.unique(np.concatenate([self.left, self.right])).tolist():
            members.setdefault(int(part_of[at]), []).append(at)
        found = [
            Duplicate(tuple(group), round(float(1 - furthest[part]), 5))
            for part, group in members.items()
            if len(np.unique(coded[group])) > 1
        ]
        return sorted(found, key=lambda one: (-one.likeness, one.records))


def neighbours(vectors: npt.NDArray[np.floating], same: npt.NDArray[np.int64] | None = None) -> Neighbours:
    """How n records lie to each other, ``vectors`` [n, d]. Rows with equal ``same`` int64 [n] are copies, anyhow.

    With ten records or fewer there are too few neighbours to call any an outlier. Raises MissingExtra (cleanlab).
    """
    size = len(vectors)
    if size <= K:
        nothing = np.empty(0, np.int64)
        return _with_copies(np.ones(size), np.zeros(size, np.bool_), nothing, nothing, np.empty(0), same)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from cleanlab.outlier import OutOfDistribution

            detector = OutOfDistribution({"k": K})
            scores = np.asarray(detector.fit_score(features=np.asarray(vectors, np.float64), verbose=False), np.float64)
            distances, indices = detector.params["knn"].kneighbors()
    except ImportError as error:
        raise MissingExtra(error.name or "cleanlab", "quality") from error
    away = distances[:, :K].mean(axis=1)
    low, high = np.quantile(away, [0.25, 0.75])
    outlying = away > high + (1 / OUTLIER - 1) * (high - low) + ROUNDING
    radius = max(NEAR * float(np.median(distances[:, 0])), ROUNDING)
    row, column = np.nonzero(distances < radius)
    return _with_copies(scores, outlying, row, indices[row, column], np.maximum(distances[row, column], 0.0), same)


def _with_copies(
    scores: npt.NDArray[np.float64],
    outlying: npt.NDArray[np.bool_],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    distance: npt.NDArray[np.float64],
    same: npt.NDArray[np.int64] | None,
) -> Neighbours:
    """Link each copy with the first, too: of more copies than neighbours, the nearest ten would not reach all."""
    if same is not None:
        _, first, code = np.unique(same, return_index=True, return_inverse=True)
        copies = np.flatnonzero(first[code] != np.arange(len(same)))
        left, right = np.concatenate([left, copies]), np.concatenate([right, first[code][copies]])
        distance = np.concatenate([distance, np.zeros(len(copies))])
    return Neighbours(scores, outlying, left.astype(np.int64), right.astype(np.int64), distance)
