"""Records made up for replays: clusters of vectors, a cluster a label, some of them hard to tell apart."""

from __future__ import annotations

import numpy as np

from nextlabel.backend.simulation import Material


def clusters(
    n: int = 200, classes: int = 4, d: int = 12, spread: float = 0.6, seed: int = 0, shares: list[float] | None = None
) -> Material:
    """``n`` unit vectors around ``classes`` centres, with one right answer each."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, n, p=shares).astype(np.int64)
    centres = rng.normal(size=(classes, d))
    vectors = centres[truth] / np.linalg.norm(centres[truth], axis=1)[:, None] + spread * rng.normal(size=(n, d)) / 2
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    anchors = rng.normal(size=(classes, d))
    anchors /= np.linalg.norm(anchors, axis=1)[:, None]
    return Material(vectors.astype(np.float16), anchors.astype(np.float32), truth, truth[:, None])
