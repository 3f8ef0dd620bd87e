"""Records compared with each other: distances block by block, nearest ones, clusters, and seeds that lie apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, to_unit

BLOCK = 8_192  # rows of the pool that are read and compared together
MOST_LABELLED = 2_000  # labelled records that others are compared with
_SQUARES = 1_024  # rows whose distances to all others are held at once


def blocks(size: int, rows: int) -> Iterator[slice]:
    """Slices of at most so many ``rows``, from 0 to ``size``."""
    for start in range(0, size, rows):
        yield slice(start, min(start + rows, size))


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


def seeds_apart(
    first: int, count: int, distances: Callable[[int], Floats], rng: np.random.Generator, negligible: float = 0.0
) -> list[int]:
    """At most ``count`` seeds of k-means++ (Arthur and Vassilvitskii, SODA 2007), beginning with ``first``.

    Each is drawn with chances as the distance to the nearest one before it. ``distances(i)`` float32 [m] are those of
    all to i, never negative. It ends early once the distances that are left sum to no more than is ``negligible``.
    """
    chosen = [first]
    nearest = distances(first).astype(np.float64)
    while len(chosen) < count:
        nearest[chosen] = 0
        total = nearest.sum()
        if total <= negligible:
            break
        chosen.append(int(rng.choice(len(nearest), p=nearest / total)))
        nearest = np.minimum(nearest, distances(chosen[-1]))
    return chosen


def squared_distances(vectors: Floats) -> Iterator[tuple[slice, Floats]]:
    """For blocks of rows of float32 [m, d]: the rows, and float32 [rows, m] squared distances to all, 0 to themselves.

    Never negative. A block takes 4 KiB for each of the m.
    """
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    for rows in blocks(len(vectors), _SQUARES):
        squares = lengths[rows, None] + lengths - 2 * (vectors[rows] @ vectors.T)
        np.maximum(squares, 0, out=squares)
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = 0
        yield rows, squares


def some_labelled(pool: Pool, rng: np.random.Generator) -> Floats:
    """float32 [at most 2,000, d] of length 1: the vectors of labelled records, drawn from them if there are more."""
    vectors = pool.labelled_vectors
    if len(vectors) > MOST_LABELLED:
        vectors = vectors[rng.choice(len(vectors), MOST_LABELLED, replace=False)]
    return to_unit(vectors)


def nearest_labelled(pool: Pool, vectors: Floats, rng: np.random.Generator) -> Floats:
    """float32 [m]: each vector's cosine to the nearest labelled record (of at most 2,000), 0 if there is none."""
    labelled = some_labelled(pool, rng)
    if len(labelled) == 0:
        return np.zeros(len(vectors), dtype=np.float32)
    return np.asarray((vectors @ labelled.T).max(axis=1), dtype=np.float32)


def nearest(pool: Pool, queries: Floats, count: int) -> tuple[Indices, Floats]:
    """The ``count`` records nearest to each of the ``queries``, in no order: int64 and their cosines, [q, count].

    ``queries`` float32 [q, d] of length 1. Exact: reads the whole pool once, 8,192 rows at a time, and holds no more
    than that. ``count`` is cut to the size of the pool. Raises SelectionError if the pool has no vectors.
    """
    count = min(count, len(pool))
    found: Indices = np.empty((len(queries), 0), dtype=np.int64)
    cosines: Floats = np.empty((len(queries), 0), dtype=np.float32)
    with one_blas_thread():
        for block in blocks(len(pool), BLOCK):
            rows: Indices = np.arange(block.start, block.stop, dtype=np.int64)
            products = _cosines(queries, _vectors(pool, rows))
            if len(cosines.T) == count:  # most rows are near to nothing: leave them out before anything is sorted
                some = np.flatnonzero((products > cosines.min(axis=1, keepdims=True)).any(axis=0))
                rows, products = rows[some], products[:, some]
            cosines = np.concatenate([cosines, products], axis=1)
            found = np.concatenate([found, np.broadcast_to(rows, products.shape)], axis=1)
            if len(cosines.T) > count:
                top = np.argpartition(cosines, len(cosines.T) - count, axis=1)[:, len(cosines.T) - count :]
                cosines, found = np.take_along_axis(cosines, top, axis=1), np.take_along_axis(found, top, axis=1)
    return found, cosines


def _vectors(pool: Pool, rows: Indices) -> npt.NDArray[np.floating[Any]]:
    """As they are: bringing all to length 1 takes longer than comparing them."""
    return pool.unit_vectors(rows) if pool.vectors is None else pool.vectors.take(rows)


def _cosines(queries: Floats, vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """float32 [q, m]; -1 for vectors that are not finite, 0 for those of zeros."""
    single = np.asarray(vectors, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", single, single))
        products = (queries @ single.T) / np.maximum(lengths, np.float32(1e-12))
    products[~np.isfinite(products)] = -1.0
    return np.asarray(products, dtype=np.float32)
