"""The objective under the probe: a linear layer fitted by L-BFGS.

scikit-learn's ``LogisticRegression`` minimises the same loss (a test holds them together), but it needs two classes
in the targets and fits multi-label targets one column at a time. Here one code path covers one class only, classes
never seen, and multi-label, so there are no special cases above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

BIAS_VARIANCE = 1.0  # ten labels of a class outvote it; the very first label doesn't tip the scales for all texts


@dataclass(frozen=True, slots=True)
class _Objective:
    """Weighted log loss plus a Gaussian prior, as a function of the layer in one vector.

    The prior's mean is ``centre``, in the same form.
    """

    x: Floats
    targets: Floats
    sample_weights: Floats
    strength: float
    multi_label: bool
    centre: Doubles

    def __call__(self, flat: Doubles) -> tuple[float, Doubles]:
        """The loss and its gradient. ``flat`` is [c * d weights, c biases]."""
        classes, exact = self.targets.shape[1], self.x.dtype
        weights, bias = flat[:-classes].reshape(classes, -1), flat[-classes:]
        logits = self.x @ weights.T.astype(exact) + bias.astype(exact)
        losses, residual = _independent(logits, self.targets) if self.multi_label else _softmax(logits, self.targets)
        residual *= self.sample_weights
        away = flat - self.centre
        prior = (away[:-classes] ** 2).sum() / self.strength + (away[-classes:] ** 2).sum() / BIAS_VARIANCE
        gradient = np.concatenate([(residual.T @ self.x).ravel(), residual.sum(axis=0)]).astype(np.float64)
        gradient[:-classes] += away[:-classes] / self.strength
        gradient[-classes:] += away[-classes:] / BIAS_VARIANCE
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
    start: Doubles | None = None,
    centre: Doubles | None = None,
    tolerance: float = 1e-7,
) -> tuple[Doubles, Doubles]:
    """Weights [c, d] and bias [c] with the least weighted log loss plus Gaussian prior, by L-BFGS (scipy).

    x [m, d]; targets [m, c] probabilities (rows sum to 1, or each in [0, 1] when ``multi_label``);
    sample_weights [m]; all of one dtype, float32 or float64. ``strength`` is scikit-learn's C, the prior variance of
    every weight, and ``centre`` [c, d + 1] (weights beside bias) the prior's mean, zero without it. The problem is
    convex, so ``start`` [c, d + 1] changes the time taken and not the answer; the fit ends when a step lowers the loss
    by less than ``tolerance`` of it.
    """
    from scipy.optimize import minimize

    classes, dimension = targets.shape[1], x.shape[1]
    nothing: Doubles = np.zeros(classes * (dimension + 1))
    middle = nothing if centre is None else _flat(centre)
    objective = _Objective(x, targets, sample_weights[:, None], strength, multi_label, middle)
    options = {"maxiter": 200, "ftol": tolerance, "gtol": 1e-3}
    flat = minimize(
        objective, middle if start is None else _flat(start), jac=True, method="L-BFGS-B", options=options
    ).x
    return flat[:-classes].reshape(classes, dimension), flat[-classes:]


def _flat(layer: Doubles) -> Doubles:
    """[c, d + 1] as the optimiser takes it: all weights, then all biases."""
    return np.concatenate([layer[:, :-1].ravel(), layer[:, -1]])
