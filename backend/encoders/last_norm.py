"""The direction in which an encoder's token vectors carry nothing, and how to make it carry exactly nothing.

A token vector of BERT and its kin is what the last LayerNorm gives: h = gamma * n + beta, where the entries of n sum
to 0. So with v = (1 / gamma) / |1 / gamma| every h, and every mean of several, has v . h = v . beta: a constant. The
export to a plain transformers folder needs that constant to be 0 to be exact (see extra_layer).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST_GAMMA = 1e-30  # a gamma of 0 makes its coordinate the constant one


def constant_direction(
    gamma: npt.NDArray[np.float64], beta: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """The unit vector v, float64 [d], along which gamma * n + beta is constant, and that constant."""
    size = np.maximum(np.abs(gamma), SMALLEST_GAMMA)
    smallest = size.min()
    inverse = np.where(gamma < 0, -1.0, 1.0) * (smallest / size)  # in units of the largest, so that nothing overflows
    v = inverse / np.linalg.norm(inverse)
    return v, float(v @ beta)


def last_norm(body: Any) -> Any | None:
    """The LayerNorm (torch) that ends a body of BERT's, RoBERTa's, ELECTRA's or DistilBERT's form; None for others."""
    layers = getattr(getattr(body, "encoder", None), "layer", None)
    if layers is not None and len(layers):
        return getattr(getattr(layers[-1], "output", None), "LayerNorm", None)
    layers = getattr(getattr(body, "transformer", None), "layer", None)
    return getattr(layers[-1], "output_layer_norm", None) if layers is not None and len(layers) else None


def flatten_last_norm(body: Any) -> float | None:
    """Change the last LayerNorm's beta in place, as little as possible, so that v . h = 0 for every token.

    Returns by how much beta moved (the constant before), None if ``body`` (a torch module) is of another form. A
    training that calls this after its steps gives models that the export puts into transformers' own classes exactly.
    """
    import torch

    norm = last_norm(body)
    if norm is None or getattr(norm, "bias", None) is None:
        return None
    gamma, beta = (part.detach().double().cpu().numpy() for part in (norm.weight, norm.bias))
    if not (np.isfinite(gamma).all() and np.isfinite(beta).all()):
        return None  # a training that has diverged; the loss tells
    with torch.no_grad():
        v, constant = constant_direction(gamma, beta)
        norm.bias -= torch.from_numpy(constant * v).to(norm.bias)
    return constant
