"""The contrastive objective of few-shot tuning, and the batches that it is computed on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.folds import Targets
from nextlabel.backend.learning.training.sampling import Rows, strata

TEMPERATURE = 0.07  # as in Khosla et al. (2020)


def contrastive_loss(vectors: Any, alike: Any, weights: Any) -> Any:
    """Supervised contrastive loss, a scalar: every text is to be nearer to its own kind than to all the others.

    Khosla et al., 2020, "Supervised Contrastive Learning", the form with the sum outside of the logarithm. vectors
    float [b, d] of length 1; alike float [b, b] >= 0, how much two texts are of one kind; weights [b], how much
    each counts. A text without its like in the batch only serves the others.
    """
    import torch

    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    likeness = (vectors.float() @ vectors.float().T / TEMPERATURE).masked_fill(itself, -1e9)
    pull = alike.masked_fill(itself, 0.0)
    total = pull.sum(dim=1)
    each = -(likeness.log_softmax(dim=1) * pull).sum(dim=1) / total.clamp(min=1e-9)
    counts = weights * (total > 0)
    return (each * counts).sum() / counts.sum().clamp(min=1e-9)


def alikeness(targets: Targets) -> npt.NDArray[np.float32]:
    """How much any two rows are of one kind, float32 [b, b] in [0, 1].

    Single label: 1 for the same label, 0 otherwise. Multi-label: the share of labels they have in common among
    those that either has (Jaccard, 1901); 1 for two rows without any.
    """
    if targets.ndim == 1:
        return np.asarray(targets[:, None] == targets[None, :], np.float32)
    given = targets.astype(np.float32)
    common = given @ given.T
    either = given.sum(axis=1)[:, None] + given.sum(axis=1)[None, :] - common
    return np.asarray(np.where(either > 0, common / np.maximum(either, 1), 1.0), np.float32)


def contrastive_batches(targets: Targets, size: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Batches of up to ``size`` row numbers without end, every stratum equally often and never alone.

    Many labels: two texts of each of ``size`` / 2 labels, for the more labels a batch has, the more it contrasts.
    Few labels: all of them, with as many texts as fit. A label that has a single text gives that one.
    """
    keys = strata(targets)
    groups = [np.flatnonzero(keys == value) for value in np.unique(keys)]
    at_once = max(1, min(len(groups), size // 2))
    each = max(1, size // at_once)
    decks = [_Deck(group, rng) for group in groups]
    order = _Deck(np.arange(len(groups)), rng)
    while True:
        chosen = order.draw(at_once)
        yield np.concatenate([decks[at].draw(min(each, len(groups[at]))) for at in chosen])


class _Deck:
    """Row numbers dealt out in random order, shuffled anew when they run out."""

    def __init__(self, rows: Rows, rng: np.random.Generator) -> None:
        self._rows, self._rng, self._left = rows, rng, rng.permutation(rows)

    def draw(self, count: int) -> Rows:
        """``count`` different rows, no more than there are."""
        if count > len(self._left):
            fresh = self._rng.permutation(self._rows)
            again = np.isin(fresh, self._left)  # to the end, so that none is drawn twice at once
            self._left = np.concatenate([self._left, fresh[~again], fresh[again]])
        taken, self._left = self._left[:count], self._left[count:]
        return taken
