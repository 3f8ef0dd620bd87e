"""Groups of alike records: k-means, and squared distances block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .base import Floats, Indices

_BLOCK = 1_024  # rows


def k_means(vectors: Floats, count: int, rng: np.random.Generator) -> Indices:
    """int64 [m]: the cluster of each of float32 [m, d], numbered from 0 below ``count``; some may stay empty.

    Mini-batch k-means (Sculley, Web-Scale K-Means Clustering, WWW 2010) by scikit-learn.
    """
    from sklearn.cluster import MiniBatchKMeans

    if count <= 1 or len(vectors) <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    count = min(count, len(vectors))
    model = MiniBatchKMeans(count, n_init=1, batch_size=2_048, max_iter=20, random_state=int(rng.integers(2**31)))
    return np.asarray(model.fit_predict(vectors), dtype=np.int64)


def squared_distances(vectors: Floats) -> Iterator[tuple[slice, Floats]]:
    """For blocks of rows of float32 [m, d]: the rows, and float32 [rows, m] squared distances to all, 0 to themselves.

    Never negative. A block takes 4 KiB for each of the m.
    """
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(vectors)))
        squares = lengths[rows, None] + lengths - 2 * (vectors[rows] @ vectors.T)
        np.maximum(squares, 0, out=squares)
        squares[np.arange(rows.stop - start), np.arange(start, rows.stop)] = 0
        yield rows, squares
