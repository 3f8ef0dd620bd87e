"""What held-out predictions tell about the probe: how much to regularise, how sure to be, which answers to doubt.

Five layers are fitted, each without one fifth of the labels. They are kept from refit to refit, and fitted anew only
when the labels have grown by a tenth: a label that came in since was seen by none of them, so their predictions stay
held out, and reading them costs one product of matrices.

A layer is fitted by L-BFGS. scikit-learn's ``LogisticRegression`` minimises the same loss (a test holds them together),
but it needs two classes in the targets and fits multi-label targets one column at a time. Here one code path covers
one class only, classes never seen, and multi-label, so there are no special cases above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SOFTMAX, Activation, Targets, activation_of
from nextlabel.backend.numeric import best_temperature
from nextlabel.connectors.errors import LearningError

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
BIAS_VARIANCE = 1.0  # ten labels of a class outvote it; the very first label doesn't tip the scales for all texts
Matrix = npt.NDArray[np.float32]
SoftTargets = npt.NDArray[np.floating[Any]]
"""Floating [m, c], rows sum to 1: how likely each class is."""
ROUNDING = 1e-3  # by how much the probabilities of a soft target may miss 1
FOLDS = 5
LEAST = 20  # labels; with fewer, a fold is too small to tell anything
GROWTH = 0.1  # of the labels, after which the layers are fitted anew
SEARCH_GROWTH = 0.5  # of the labels, after which the strength is looked for anew
SEARCH_MOST = 500  # labels that the search looks at: a prior variance doesn't change with their number
STEP_COST = 1.0  # log loss that a strength has to save for every step away from the usual one
MOST = 2000  # labels that the layers are fitted on; more would change what is read off them no further
ROUGHLY = 1e-4  # tolerance of these fits: only sums over many held-out rows are read off them
STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # to choose from; scikit-learn's C, for vectors of length 1
STRENGTH = 3.0
COLD_TEMPERATURE = 0.5  # what calibration mostly finds at that strength, used until there are enough labels
ANCHOR_WEIGHT = 10.0  # examples that an anchor counts for before its class has any
ANCHOR_HALVES_AT = 5.0  # labelled examples of a class that halve the weight of its anchor
NOISE = 0.05  # share of wrong answers taken for granted when one is doubted


@dataclass(frozen=True, slots=True)
class _Objective:
    """Weighted log loss plus a Gaussian prior, as a function of the layer in one vector.

    The prior's mean is ``centre``, in the same form.
    """

    x: Floats
    targets: Floats
    sample_weights: Floats
    strength: float
    activation: Activation
    centre: Doubles

    def __call__(self, flat: Doubles) -> tuple[float, Doubles]:
        """The loss and its gradient. ``flat`` is [c * d weights, c biases]."""
        classes, exact = self.targets.shape[1], self.x.dtype
        weights, bias = flat[:-classes].reshape(classes, -1), flat[-classes:]
        logits = self.x @ weights.T.astype(exact) + bias.astype(exact)
        losses, residual = self.activation.loss(logits, self.targets)
        residual *= self.sample_weights
        away = flat - self.centre
        prior = (away[:-classes] ** 2).sum() / self.strength + (away[-classes:] ** 2).sum() / BIAS_VARIANCE
        gradient = np.concatenate([(residual.T @ self.x).ravel(), residual.sum(axis=0)]).astype(np.float64)
        gradient[:-classes] += away[:-classes] / self.strength
        gradient[-classes:] += away[-classes:] / BIAS_VARIANCE
        return float((losses * self.sample_weights).sum(dtype=np.float64) + 0.5 * prior), gradient


def fit_linear(
    x: Floats,
    targets: Floats,
    sample_weights: Floats,
    *,
    strength: float,
    activation: Activation = SOFTMAX,
    start: Floats | None = None,
    centre: Floats | None = None,
    tolerance: float = 1e-7,
) -> tuple[Doubles, Doubles]:
    """Weights [c, d] and bias [c] with the least weighted log loss plus Gaussian prior, by L-BFGS (scipy).

    x [m, d]; targets [m, c] probabilities (rows sum to 1, or each in [0, 1] under sigmoids);
    sample_weights [m]; all of one dtype, float32 or float64. ``strength`` is scikit-learn's C, the prior variance of
    every weight, and ``centre`` [c, d + 1] (weights beside bias) the prior's mean, zero without it. The problem is
    convex, so ``start`` [c, d + 1] changes the time taken and not the answer; the fit ends when a step lowers the loss
    by less than ``tolerance`` of it.
    """
    from scipy.optimize import minimize

    classes, dimension = targets.shape[1], x.shape[1]
    nothing: Doubles = np.zeros(classes * (dimension + 1))
    middle = nothing if centre is None else _flat(centre)
    objective = _Objective(x, targets, sample_weights[:, None], strength, activation, middle)
    options = {"maxiter": 200, "ftol": tolerance, "gtol": 1e-3}
    flat = minimize(
        objective, middle if start is None else _flat(start), jac=True, method="L-BFGS-B", options=options
    ).x
    return flat[:-classes].reshape(classes, dimension), flat[-classes:]


def _flat(layer: Floats) -> Doubles:
    """[c, d + 1] as the optimiser takes it: all weights, then all biases."""
    return np.concatenate([layer[:, :-1].ravel(), layer[:, -1]], dtype=np.float64)


def _one_hot(targets: Targets | SoftTargets, classes: int, activation: Activation) -> Matrix:
    if targets.shape[1:] not in ((), (classes,)):
        raise LearningError(f"targets have {targets.shape[1]} columns, but there are {classes} classes")
    if np.issubdtype(targets.dtype, np.floating):
        bad = ~((targets >= 0).all(axis=1) & (np.abs(targets.sum(axis=1) - 1) < ROUNDING))
        if bad.any():
            raise LearningError(f"soft targets are probabilities; those of row {bad.argmax()} don't sum to 1")
        return targets.astype(np.float32)
    if not activation.in_range(targets, classes):
        raise LearningError(f"targets must lie in [0, {classes}), found {targets.min()} to {targets.max()}")
    return activation.flags(targets, classes).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ProbeData:
    """What is fitted, again and again on parts of the rows.

    x [m, d]; targets [m, c] probabilities; counts [m] how much each row weighs; anchors [c, d] or None. All float32.
    """

    x: Matrix
    targets: Matrix
    counts: Matrix
    anchors: Matrix | None
    activation: Activation
    centre: Matrix | None = None  # [c, d + 1]: the layer to start from and to stay near, in place of zero
    soft: bool = False  # whether targets are what several annotators said, weighed already

    @classmethod
    def checked(
        cls,
        vectors: npt.NDArray[Any],
        targets: Targets | SoftTargets,
        classes: int,
        weights: npt.NDArray[Any] | None,
        anchors: npt.NDArray[Any] | None,
    ) -> ProbeData:
        """What a probe is given (see Probe.fit), everything as float32. Raises LearningError for what doesn't fit."""
        if vectors.ndim != 2 or len(vectors) != len(targets):
            raise LearningError(f"{list(vectors.shape)} vectors don't go with {len(targets)} targets")
        x = np.ascontiguousarray(vectors, np.float32)
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            raise LearningError(f"{len(bad)} of {len(x)} vectors aren't finite, first row {bad[0]}: encode them anew")
        counts = np.ones(len(x), np.float32) if weights is None else np.asarray(weights, np.float32)
        if counts.shape != (len(x),) or not np.isfinite(counts).all() or (counts < 0).any():
            raise LearningError(f"weights must be {len(x)} finite numbers, none below 0")
        if anchors is not None:
            if anchors.shape != (classes, x.shape[1]) or not np.isfinite(anchors).all():
                raise LearningError(f"anchors must be finite [{classes}, {x.shape[1]}], not {list(anchors.shape)}")
            anchors = np.asarray(anchors, np.float32)
        soft = np.issubdtype(targets.dtype, np.floating)
        activation = SOFTMAX if soft else activation_of(targets)
        return cls(x, _one_hot(targets, classes, activation), counts, anchors, activation, soft=soft)

    def fit(
        self,
        strength: float,
        rows: npt.NDArray[np.int64] | slice = slice(None),
        start: Matrix | None = None,
        tolerance: float = 1e-6,
    ) -> Matrix:
        """The layer float32 [c, d + 1], weights beside bias, that fits ``rows`` and the fading anchors."""
        x, targets, counts = self.x[rows], self.targets[rows], self.counts[rows]
        if self.anchors is not None:
            seen = counts @ targets
            x = np.concatenate([x, self.anchors])
            targets = np.concatenate([targets, np.eye(len(seen), dtype=np.float32)])
            counts = np.concatenate([counts, ANCHOR_WEIGHT / (1 + seen / ANCHOR_HALVES_AT)])
        weights, bias = fit_linear(
            x,
            targets,
            counts,
            strength=strength,
            activation=self.activation,
            start=start,
            centre=self.centre,
            tolerance=tolerance,
        )
        return np.column_stack([weights, bias]).astype(np.float32)

    def some(self, most: int) -> ProbeData:
        """The task on at most ``most`` rows, evenly spread over the order they came in."""
        rows = np.linspace(0, len(self.x) - 1, min(len(self.x), most)).astype(np.int64)
        return replace(self, x=self.x[rows], targets=self.targets[rows], counts=self.counts[rows])


@dataclass(frozen=True, slots=True)
class CrossFit:
    """``layers`` float32 [5, c, d + 1], one per fold left out, fitted on ``labels`` labels, and what they told.

    ``searched`` is the number of labels when the strength was chosen.
    """

    layers: Matrix
    strength: float = STRENGTH
    temperature: float = COLD_TEMPERATURE
    labels: int = 0
    searched: int = 0

    def held_out(self, x: Matrix) -> Matrix:
        """Logits float32 [m, c] of every row, from the layer that was fitted without the row's fold."""
        fold_of = fold_by_content(x)
        logits = np.empty((len(x), self.layers.shape[1]), np.float32)
        for fold, layer in enumerate(self.layers):
            logits[fold_of == fold] = x[fold_of == fold] @ layer[:, :-1].T + layer[:, -1]
        return logits

    def predicted(self, x: Matrix, activation: Activation) -> Matrix:
        """Probabilities float32 [m, c] of every row, held out likewise."""
        return activation.probabilities(self.held_out(x) / np.float32(self.temperature))

    def believed(self, task: ProbeData, settled: npt.NDArray[np.bool_] | None = None) -> Matrix:
        """The targets that are believed, float32 [m, c]: answers as given, but for those that are more likely wrong.

        Rows that are ``settled`` bool [m] are taken as given.

        Bayes' rule with an answer that is wrong in 5 of 100 cases, any other label being as likely: one step of the
        EM algorithm of Dawid and Skene (1979), with held-out predictions as prior. Answers that stay more likely
        right than wrong are left alone: on hard or rare classes a model is too often sure for no reason. So are answers
        with a label that it recognises in less than half of its held-out cases: it can't know better, and the few
        positives of a rare class would be the first to be disbelieved.
        """
        p = self.predicted(task.x, task.activation)
        given = task.targets
        said = given > 0.5
        unknown = said & (2 * (said & (p > 0.5)).sum(axis=0) < said.sum(axis=0))
        belief, wrong = task.activation.belief(p, given, NOISE, trusted=unknown)
        wrong = wrong if settled is None else wrong & ~settled[:, None]
        return np.where(wrong, belief, given).astype(np.float32)


def cross_fit(task: ProbeData, warm: CrossFit | None, fixed: float | None = None) -> CrossFit | None:
    """Layers, strength and temperature; those of ``warm`` while they are fresh. None for too few labels.

    ``fixed``: the strength, where it is not to be looked for.
    """
    size = len(task.x)
    if size < LEAST:
        return None
    if warm is not None and fixed not in (None, warm.strength):
        warm = None
    if warm is not None and abs(size - warm.labels) <= GROWTH * warm.labels:
        return warm
    if fixed is not None:
        crossed, _ = _crossed(task.some(MOST), fixed, None if warm is None else warm.layers)
        return replace(crossed, labels=size, searched=size)
    strength, searched = (warm.strength, warm.searched) if warm is not None else (STRENGTH, 0)
    if abs(size - searched) > SEARCH_GROWTH * searched:
        strength, searched = _best_strength(task.some(SEARCH_MOST), None if warm is None else warm.layers), size
    crossed, _ = _crossed(task.some(MOST), strength, None if warm is None else warm.layers)
    return replace(crossed, labels=size, searched=searched)


def _best_strength(part: ProbeData, layers: Matrix | None) -> float:
    """The strength with the least held-out log loss, in doubt the usual one."""
    found = []
    for steps, strength in enumerate(STRENGTHS, -STRENGTHS.index(STRENGTH)):
        crossed, loss = _crossed(part, strength, layers)
        layers = crossed.layers
        found.append((loss + STEP_COST * abs(steps), strength))
    return min(found)[1]


def _crossed(part: ProbeData, strength: float, starts: Matrix | None) -> tuple[CrossFit, float]:
    """Layers at one strength, their best temperature in [0.1, 10], and the log loss that is left.

    The loss knows that some answers are wrong: the temperature is the one at which the probabilities fit the truth
    behind the answers, and a wrong answer costs no more than its rarity.
    """
    fold_of = fold_by_content(part.x)
    layers = [
        part.fit(strength, np.flatnonzero(fold_of != fold), None if starts is None else starts[fold], ROUGHLY)
        for fold in range(FOLDS)
    ]
    crossed = CrossFit(np.stack(layers), strength)
    logits = crossed.held_out(part.x)

    def loss(temperature: float) -> float:
        p = part.activation.probabilities(logits / np.float32(temperature))
        each = part.activation.log_likelihood(p, part.targets, NOISE)
        return float(-(part.counts[:, None] * each).sum(dtype=np.float64))

    temperature, least = best_temperature(loss)
    return replace(crossed, temperature=temperature), least


def fold_by_content(x: Matrix) -> npt.NDArray[np.int64]:
    """A fold for every row, int64 [m], from the row's own numbers: the same in every refit, equal rows together."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, x.shape[1], dtype=np.uint64) | np.uint64(1)
    mixed = (bits * factors).sum(axis=1, dtype=np.uint64)  # wraps around, as a hash may
    fold_of: npt.NDArray[np.int64] = ((mixed >> np.uint64(33)) % np.uint64(FOLDS)).astype(np.int64)
    return fold_of
