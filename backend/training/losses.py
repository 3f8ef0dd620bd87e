"""What training minimises. Every function gives one loss an example, so that weights and parts of batches are exact.

Single labels get a softmax, multi-label one sigmoid a label, as in the probe.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.folds import Targets


def cross_entropy(logits: Any, targets: Any, class_weights: Any = None) -> Any:
    """Cross-entropy [b] of logits [b, c] and targets int64 [b]; binary, the mean over labels, for bool [b, c].

    ``class_weights`` [c] multiplies the loss of that class; multi-label, that of its presence.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits
    from torch.nn.functional import cross_entropy as softmax_cross_entropy

    if targets.ndim == 1:
        return softmax_cross_entropy(logits, targets, weight=class_weights, reduction="none")
    each = binary_cross_entropy_with_logits(
        logits, targets.to(logits.dtype), pos_weight=class_weights, reduction="none"
    )
    return each.mean(dim=1)


def focal(logits: Any, targets: Any, gamma: float, class_weights: Any = None) -> Any:
    """Focal loss [b]: cross-entropy times (1 - p)^gamma, p being the probability given to what is right.

    Lin et al., 2017, "Focal Loss for Dense Object Detection". Arguments as in ``cross_entropy``; multi-label, the
    mean over labels.
    """
    import torch
    from torch.nn.functional import logsigmoid

    if targets.ndim == 1:
        right = logits.log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        loss = _focused(right, gamma)
        return loss if class_weights is None else loss * class_weights[targets]
    right = logsigmoid(torch.where(targets.bool(), logits, -logits))
    loss = _focused(right, gamma)
    if class_weights is not None:
        loss = loss * torch.where(targets.bool(), class_weights, torch.ones_like(class_weights))
    return loss.mean(dim=1)


def _focused(right: Any, gamma: float) -> Any:
    # Away from 0, where a root has no gradient: an exponent below 1 would make nan of a text that is surely right.
    wrong = (-right.expm1()).clamp(min=1e-12)
    return -(wrong**gamma) * right


def example_losses(
    logits: Any, targets: Any, loss: Literal["cross-entropy", "focal"], gamma: float, class_weights: Any = None
) -> Any:
    """The loss that a spec names, [b]."""
    if loss == "focal":
        return focal(logits, targets, gamma, class_weights)
    return cross_entropy(logits, targets, class_weights)


def balanced_weights(
    targets: Targets, classes: int, weights: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """A weight per class, float32 [classes], with which all classes count alike; 1 for a class that doesn't occur.

    Single label: n / (k * count), k classes occurring, as scikit-learn's ``balanced``. Multi-label: absences over
    presences of each label. ``weights`` [n] makes the counts weighted.
    """
    counts = np.ones(len(targets), np.float64) if weights is None else weights.astype(np.float64)
    out = np.ones(classes, np.float64)
    if targets.ndim == 2:
        present = counts @ targets
        occurs = (present > 0) & (present < counts.sum())
        out[occurs] = (counts.sum() - present[occurs]) / present[occurs]
    else:
        present = np.bincount(targets, weights=counts, minlength=classes).astype(np.float64)
        occurs = present > 0
        out[occurs] = counts.sum() / (occurs.sum() * present[occurs])
    return out.astype(np.float32)
