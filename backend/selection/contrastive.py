"""Records that look like labelled ones, and yet the model says something else about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nextlabel.backend.blas import one_blas_thread
from nextlabel.connectors.errors import SelectionError

from .base import Floats, Indices, Pool, check_request, to_unit, top_k
from .registry import register

_BLOCK = 4_096  # rows of the pool that are compared together
_MOST_LABELLED = 2_000  # labelled records that they are compared with, evenly spread over their order


@register("contrastive")
@dataclass(frozen=True, slots=True)
class Contrastive:
    """The mean divergence from the predictions of the nearest labelled records to that of the record itself.

    CAL: Margatina, Vernikos, Barrault and Aletras, Active Learning by Acquiring Contrastive Examples, EMNLP 2021.
    The Kullback-Leibler divergence, over the ``neighbours`` nearest by cosine. A pool without
    ``labelled_probabilities`` is compared with the labels themselves, as in an ablation of the paper. Several labels:
    the sum of the divergences of each. With nothing labelled yet all scores are equal.
    """

    neighbours: int = 10

    name: ClassVar[str] = "contrastive"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError("neighbours must be at least 1")

    def score(self, pool: Pool) -> Floats:
        """float32 [n], 0 or more. Reads all vectors of the pool, 4,096 at a time."""
        scores: Floats = np.zeros(len(pool), dtype=np.float32)
        known = len(pool.labelled_vectors)
        if known == 0:
            return scores
        rows = np.unique(np.linspace(0, known - 1, min(known, _MOST_LABELLED)).astype(np.int64))
        labelled = to_unit(pool.labelled_vectors[rows])
        said = pool.activation.distributions(_said(pool, rows))
        negative_entropy = (said * np.log(said)).sum(axis=1)
        near = min(self.neighbours, len(rows))
        with one_blas_thread():
            for start in range(0, len(pool), _BLOCK):
                at = np.arange(start, min(start + _BLOCK, len(pool)), dtype=np.int64)
                cosines = pool.unit_vectors(at) @ labelled.T
                nearest = np.argpartition(cosines, len(rows) - near, axis=1)[:, len(rows) - near :]
                log_guess = np.log(pool.activation.distributions(pool.probabilities[at]))
                cross = (said[nearest].mean(axis=1) * log_guess).sum(axis=1)
                scores[at] = np.maximum(negative_entropy[nearest].mean(axis=1) - cross, 0.0)
        return scores

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the highest scores first, ties in random order."""
        check_request(pool, k)
        return top_k(self.score(pool), k, rng)


def _said(pool: Pool, rows: Indices) -> npt.NDArray[Any]:
    """What labelled ``rows`` are compared by, [m, c]: predictions, or the labels if there are none."""
    if len(pool.labelled_probabilities):
        return pool.labelled_probabilities[rows]
    if len(pool.labelled_targets) == 0:
        raise SelectionError("contrastive compares records with labels, and spans are none; choose margin-diverse")
    return pool.activation.flags(pool.labelled_targets[rows], pool.probabilities.shape[1])
