"""The objective under the probe: a linear layer fitted by L-BFGS, with class anchors as a prior.

scikit-learn's ``LogisticRegression`` minimises the same loss, but has no prior mean, needs two classes in the
targets, and fits multi-label targets one column at a time. Here one code path covers no label at all, one class
only, classes never seen, and multi-label, so there are no special cases above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

ANCHOR_VARIANCE = 25.0  # prior variance of the anchors' pull: wrong anchors are unlearned within tens of labels
BIAS_VARIANCE = 1.0  # a bias costs little once a class has ten labels, and the first label does not tip the scales


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A fitted layer: ``logits = x @ (weights + pull * anchors).T + bias``.

    ``weights`` [c, d] is what was learned beside the anchors, ``bias`` is [c], and ``pull`` is the weight that
    the anchors were found to deserve (0 without anchors).
    """

    weights: Doubles
    bias: Doubles
    pull: float


@dataclass(frozen=True, slots=True)
class _Objective:
    """Weighted log loss plus a Gaussian prior, as a function of all parameters in one vector."""

    x: Floats
    targets: Floats
    sample_weights: Floats
    similarity: Floats
    strength: float
    pull: float
    multi_label: bool

    def split(self, flat: Doubles) -> LinearFit:
        classes, dimension = self.targets.shape[1], self.x.shape[1]
        size = classes * dimension
        return LinearFit(flat[:size].reshape(classes, dimension), flat[size:-1], float(flat[-1]))

    def __call__(self, flat: Doubles) -> tuple[float, Doubles]:
        """The loss and its gradient."""
        now = self.split(flat)
        exact = self.x.dtype
        logits = self.x @ now.weights.T.astype(exact) + now.bias.astype(exact) + exact.type(now.pull) * self.similarity
        losses, residual = _independent(logits, self.targets) if self.multi_label else _softmax(logits, self.targets)
        residual *= self.sample_weights
        off = now.pull - self.pull
        prior = (now.weights**2).sum() / self.strength + (now.bias**2).sum() / BIAS_VARIANCE + off**2 / ANCHOR_VARIANCE
        gradient = np.concatenate(
            [
                (residual.T @ self.x).ravel() + now.weights.ravel() / self.strength,
                residual.sum(axis=0) + now.bias / BIAS_VARIANCE,
                [(residual * self.similarity).sum() + off / ANCHOR_VARIANCE],
            ]
        )
        return float((losses * self.sample_weights).sum(dtype=np.float64) + 0.5 * prior), gradient


def _softmax(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Cross-entropy [m, 1] and its derivative by the logits [m, c]."""
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    total = odds.sum(axis=1, keepdims=True)
    return np.log(total) - (targets * logits).sum(axis=1, keepdims=True), odds / total - targets


def _independent(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Binary cross-entropy of every label [m, c], and its derivative by the logits."""
    losses = np.logaddexp(0, logits) - targets * logits
    return losses, 1 / (1 + np.exp(-np.clip(logits, -60, 60))) - targets


def fit_linear(
    x: Floats,
    targets: Floats,
    sample_weights: Floats,
    *,
    strength: float,
    multi_label: bool = False,
    anchors: Floats | None = None,
    pull: float = 0.0,
    start: LinearFit | None = None,
) -> LinearFit:
    """Minimise the weighted log loss plus a Gaussian prior, by L-BFGS (scipy).

    x [m, d]; targets [m, c] probabilities (rows sum to 1, or each in [0, 1] when ``multi_label``);
    sample_weights [m]; all of one dtype, float32 or float64. ``strength`` is scikit-learn's C: the prior
    variance of every weight. ``anchors`` [c, d] enter as ``pull * (x @ anchors.T)`` where the pull itself is
    fitted, with ``pull`` as its prior mean: anchors that agree with the labels are trusted more, others less.
    The problem is convex, so ``start`` changes the time taken and not the answer.
    """
    from scipy.optimize import minimize

    similarity = np.zeros_like(targets) if anchors is None else (x @ anchors.T.astype(x.dtype))
    objective = _Objective(x, targets, sample_weights[:, None], similarity, strength, pull, multi_label)
    classes, dimension = targets.shape[1], x.shape[1]
    if start is not None and start.weights.shape == (classes, dimension):
        first = np.concatenate([start.weights.ravel(), start.bias, [start.pull]])
    else:
        first = np.concatenate([np.zeros(classes * (dimension + 1)), [pull]])
    options = {"maxiter": 200, "ftol": 1e-7, "gtol": 1e-3}
    return objective.split(minimize(objective, first, jac=True, method="L-BFGS-B", options=options).x)
