"""The probe: a calibrated linear head on frozen embeddings, refitted after every label.

Single labels get one softmax, multi-label one sigmoid a label. Class anchors (see coldstart) make it usable from
zero labels. Probabilities are sharpened or flattened by one temperature (Guo et al., 2017, "On Calibration of
Modern Neural Networks"), found on out-of-fold predictions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.folds import Targets, assign_folds
from nextlabel.backend.learning.linear import fit_linear
from nextlabel.connectors.errors import LearningError

Matrix = npt.NDArray[np.float32]

FORMAT = "nextlabel-probe-1"
STRENGTH = 3.0  # scikit-learn's C, for vectors of length 1
ANCHOR_WEIGHT = 10.0  # examples that an anchor counts for before its class has any
ANCHOR_HALVES_AT = 5.0  # labelled examples of a class that halve the weight of its anchor
COLD_TEMPERATURE = 0.5  # what calibration mostly finds at this strength, used until there are enough labels
CALIBRATE_FROM = 20  # labels; below, folds are too small to tell anything
CALIBRATE_EVERY = 0.1  # growth of the labels after which the temperature is found anew
CALIBRATE_ON = 1000  # labels at most: more change a single number no further
FOLDS = 5
CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted head. Immutable; safe to share between threads.

    ``weights`` float32 [c, d], ``bias`` float32 [c]; ``temperature`` divides the logits; ``labels`` is the number
    of rows it was fitted on, ``calibrated_on`` the number when the temperature was found.
    """

    weights: Matrix
    bias: Matrix
    multi_label: bool
    temperature: float = COLD_TEMPERATURE
    labels: int = 0
    calibrated_on: int = 0

    @classmethod
    def fit(
        cls,
        vectors: npt.NDArray[Any],
        targets: Targets,
        classes: int,
        *,
        weights: npt.NDArray[Any] | None = None,
        anchors: npt.NDArray[Any] | None = None,
        warm: Probe | None = None,
        strength: float = STRENGTH,
        calibrate: bool = True,
        seed: int = 0,
    ) -> Probe:
        """Fit a probe.

        vectors: floating [m, d], rows of length 1, m may be 0. targets: int64 [m] in [0, classes), or bool
        [m, classes] for multi-label. weights: [m], how much each row counts. anchors: [classes, d], one vector a
        class to start from. warm: an earlier probe of the same shape; saves time, and its temperature is kept
        until the labels have grown by a tenth.

        Raises LearningError when shapes or values don't fit together.
        """
        from threadpoolctl import threadpool_limits

        multi_label = targets.ndim == 2
        task = _Task(*_checked(vectors, targets, classes, weights, anchors), strength, multi_label)
        if warm is not None and (warm.multi_label, warm.weights.shape) != (multi_label, (classes, task.x.shape[1])):
            warm = None
        # More BLAS threads make fits of this size 2-13 times slower.
        with threadpool_limits(1, user_api="blas"):
            layer = task.fit(np.arange(len(targets)), None if warm is None else warm.layer)
            # Contiguous copies: safetensors writes the memory as it lies, strides or not.
            weights_and_bias = layer[:, :-1].copy(), layer[:, -1].copy()
            probe = cls(*weights_and_bias, multi_label, labels=len(targets))
            if warm is not None:
                probe = replace(probe, temperature=warm.temperature, calibrated_on=warm.calibrated_on)
            changed = abs(len(targets) - probe.calibrated_on)
            if calibrate and len(targets) >= CALIBRATE_FROM and changed > CALIBRATE_EVERY * probe.calibrated_on:
                temperature = task.temperature(targets, layer, np.random.default_rng(seed))
                probe = replace(probe, temperature=temperature, calibrated_on=len(targets))
        return probe

    @property
    def layer(self) -> Matrix:
        """Weights beside bias, float32 [c, d + 1]."""
        return np.column_stack([self.weights, self.bias])

    @property
    def classes(self) -> int:
        """How many labels it tells apart."""
        return len(self.bias)

    def predict_proba(self, vectors: npt.NDArray[Any]) -> Matrix:
        """float32 [n, c] for floating [n, d]: rows sum to 1, or each label apart when multi-label.

        A row that isn't finite gets the probabilities of knowing nothing, so a strategy shows it to a person.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.weights.shape[1]:
            raise LearningError(f"the probe takes vectors [n, {self.weights.shape[1]}], not {list(vectors.shape)}")
        out = np.empty((len(vectors), self.classes), np.float32)
        for at in range(0, len(vectors), CHUNK):
            chunk = np.asarray(vectors[at : at + CHUNK], np.float32)
            out[at : at + CHUNK] = self._probabilities(chunk @ self.weights.T + self.bias)
        return out

    def _probabilities(self, logits: Matrix) -> Matrix:
        logits /= np.float32(self.temperature)
        if not np.isfinite(logits.sum()):
            logits[~np.isfinite(logits).all(axis=1)] = 0.0
        return probabilities(logits, self.multi_label)

    def save(self, path: str | Path) -> None:
        """Write the probe to ``path`` (safetensors, with a JSON header): no code, only numbers."""
        from safetensors.numpy import save_file

        header = {
            "format": FORMAT,
            "multi_label": self.multi_label,
            "temperature": self.temperature,
            "labels": self.labels,
            "calibrated_on": self.calibrated_on,
        }
        save_file({"weights": self.weights, "bias": self.bias}, path, metadata={"nextlabel": json.dumps(header)})

    @classmethod
    def load(cls, path: str | Path) -> Probe:
        """Read what ``save`` wrote. Raises LearningError for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("nextlabel", "{}"))
                if header.get("format") != FORMAT:
                    raise LearningError(f"{path} is not a probe of this version ({FORMAT}); delete it and refit")
                return cls(
                    file.get_tensor("weights"),
                    file.get_tensor("bias"),
                    bool(header["multi_label"]),
                    float(header["temperature"]),
                    int(header["labels"]),
                    int(header["calibrated_on"]),
                )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise LearningError(f"{path} can't be read as a probe: {error}; delete it and refit") from error


def probabilities(logits: Matrix, multi_label: bool) -> Matrix:
    """Logits to probabilities, in place, without overflow."""
    if multi_label:
        np.clip(logits, -60, 60, out=logits)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


@dataclass(frozen=True, slots=True)
class _Task:
    """What is fitted, again and again on parts of the rows."""

    x: Matrix
    one_hot: Matrix
    sample_weights: Matrix
    anchors: Matrix | None
    strength: float
    multi_label: bool

    def fit(self, rows: npt.NDArray[np.int64], start: Matrix | None) -> Matrix:
        """The layer float32 [c, d + 1] that fits ``rows``, with an anchor a class as one more, fading example."""
        x, one_hot, counts = self.x[rows], self.one_hot[rows], self.sample_weights[rows]
        if self.anchors is not None:
            seen = counts @ one_hot
            x = np.concatenate([x, self.anchors])
            one_hot = np.concatenate([one_hot, np.eye(len(seen), dtype=np.float32)])
            counts = np.concatenate([counts, ANCHOR_WEIGHT / (1 + seen / ANCHOR_HALVES_AT)])
        first = None if start is None else start.astype(np.float64)
        fitted = fit_linear(x, one_hot, counts, strength=self.strength, multi_label=self.multi_label, start=first)
        return np.column_stack(fitted).astype(np.float32)

    def temperature(self, targets: Targets, start: Matrix, rng: np.random.Generator) -> float:
        """The temperature with the least log loss on out-of-fold logits, in [0.1, 10]."""
        from scipy.optimize import minimize_scalar

        sample = rng.permutation(len(self.x))[:CALIBRATE_ON]
        fold_of = assign_folds(targets[sample], FOLDS, rng)
        logits = np.empty((len(sample), self.one_hot.shape[1]), np.float32)
        for fold in range(FOLDS):
            layer = self.fit(sample[fold_of != fold], start)
            logits[fold_of == fold] = self.x[sample[fold_of == fold]] @ layer[:, :-1].T + layer[:, -1]
        truth, counts = self.one_hot[sample], self.sample_weights[sample, None]

        def loss(log_temperature: float) -> float:
            p = probabilities(logits / np.float32(np.exp(log_temperature)), self.multi_label)
            right = np.where(truth > 0.5, p, 1 - p) if self.multi_label else (p * truth).sum(axis=1, keepdims=True)
            return float(-(counts * np.log(np.maximum(right, 1e-7))).sum())

        return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def _checked(
    vectors: npt.NDArray[Any],
    targets: Targets,
    classes: int,
    weights: npt.NDArray[Any] | None,
    anchors: npt.NDArray[Any] | None,
) -> tuple[Matrix, Matrix, Matrix, Matrix | None]:
    """Vectors, one-hot targets, weights and anchors, all float32. Raises LearningError."""
    if vectors.ndim != 2 or len(vectors) != len(targets):
        raise LearningError(f"{list(vectors.shape)} vectors don't go with {len(targets)} targets")
    x = np.ascontiguousarray(vectors, np.float32)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise LearningError(f"{len(bad)} of {len(x)} vectors aren't finite, first row {bad[0]}: encode them anew")
    counts = np.ones(len(x), np.float32) if weights is None else np.asarray(weights, np.float32)
    if counts.shape != (len(x),) or not np.isfinite(counts).all() or (counts < 0).any():
        raise LearningError(f"weights must be {len(x)} finite numbers, none below 0")
    if anchors is None:
        return x, _one_hot(targets, classes), counts, None
    if anchors.shape != (classes, x.shape[1]) or not np.isfinite(anchors).all():
        raise LearningError(f"anchors must be finite [{classes}, {x.shape[1]}], not {list(anchors.shape)}")
    return x, _one_hot(targets, classes), counts, np.asarray(anchors, np.float32)


def _one_hot(targets: Targets, classes: int) -> Matrix:
    if targets.ndim == 2:
        if targets.shape[1] != classes:
            raise LearningError(f"targets have {targets.shape[1]} columns, but there are {classes} classes")
        return targets.astype(np.float32)
    if len(targets) and not 0 <= targets.min() <= targets.max() < classes:
        raise LearningError(f"targets must lie in [0, {classes}), found {targets.min()} to {targets.max()}")
    one_hot = np.zeros((len(targets), classes), np.float32)
    one_hot[np.arange(len(targets)), targets] = 1.0
    return one_hot
