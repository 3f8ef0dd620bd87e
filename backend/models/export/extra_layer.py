"""Our network, written as one of transformers' own classification models, with one more layer in its body.

Ours: token vectors h -> their mean m (or the first one) -> unit vector u = m / |m| -> linear. Theirs: the first token
of the last layer -> dense -> tanh -> linear. The layer that is added makes the one into the other:

``mean``  Queries and keys of 0 give every real token the same attention, so attention puts m in every place; the
          dense layer behind it multiplies by a large number, beside which the residual is nothing; LayerNorm then
          brings m to a fixed length, which is what u is.
``cls``   The attention gives nothing. The norm before it is set to gamma = 1, beta = 0, so that the one after it
          changes nothing; the feed-forward part applies gamma and beta, and cancels the residual; its activation is
          used far on the positive side, where it is the identity.

LayerNorm also subtracts the mean of the entries, one direction of d. A rotation sees to it that the direction q that
is lost is one that carries nothing: token vectors have such a one (see last_norm), exactly if its constant is 0. The
small-signal range of tanh is the identity, too: the entries of u are made 1000 times smaller for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.heads import OWN_HEAD
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.torch import constant_direction, last_norm, load_body
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.errors import LearningError

Array = npt.NDArray[np.float64]

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu")  # the identity far to the right
RESIDUAL = 1e6  # how many times larger than the residual the text's vector is made
SMALL = 1e-3  # tanh(x) = x to 3e-7 for |x| < SMALL
FAR = 8.0  # activations at x > FAR differ from x by less than 1e-14


def obstacle(config: Mapping[str, Any], pooling: str) -> str:
    """Why a body with this configuration can't be written so; empty if it can."""
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        return f"{kind!r} is not one of {', '.join(MODEL_TYPES)}"
    if pooling == OWN_HEAD:
        return "a head of one's own has no counterpart in transformers' own classes"
    if pooling not in ("mean", "cls"):
        return f"pooling {pooling!r} has no counterpart in transformers' own classes"
    names = {"distilbert": ("activation", "hidden_dim", "dim")}
    names_of = names.get(str(kind), ("hidden_act", "intermediate_size", "hidden_size"))
    activation, inner, width = (config.get(name) for name in names_of)
    if pooling == "cls" and (activation not in ACTIVATIONS or not inner or not width or inner < width):
        return f"the feed-forward part ({activation}, {inner} wide) can't carry {width} numbers"
    return ""


def write_with_layer(folder: ModelFolder, head: Probe, classes: Mapping[str, Any], vectors: Array, out: Path) -> None:
    """Write body and head as one of transformers' own classifiers into ``out``.

    ``classes``: the part of its configuration that is about labels. ``vectors`` float64 [n, d]: those of some texts.
    Raises LearningError for a body that transformers' class has no place for.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    body = load_body(folder, attention="eager")
    config = AutoConfig.from_pretrained(folder.path, local_files_only=True, **classes)
    count = "n_layers" if config.model_type == "distilbert" else "num_hidden_layers"
    setattr(config, count, getattr(config, count) + 1)
    config.dtype = torch.float32
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    base = getattr(classifier, classifier.base_model_prefix)
    unknown = [
        name for name in base.load_state_dict(body.state_dict(), strict=False).unexpected_keys if "pooler" not in name
    ]
    if unknown:
        raise LearningError(f"{folder.path} has weights that {type(classifier).__name__} has no place for: {unknown}")
    q, kept = _lost_direction(body, head, vectors)
    _write_layer(classifier, folder.pooling, head, q, kept)
    classifier.save_pretrained(out)


def _lost_direction(body: Any, head: Probe, vectors: Array) -> tuple[Array, float]:
    """The direction q, float64 [d], to lose, and the mean of q . u over ``vectors`` (unit, [n, d]), which is kept.

    The candidates: the one in which token vectors are constant; its part that the head does not look at; and that in
    which the first half of the vectors has the least energy among those. The best for the second half is taken.
    """
    norm = last_norm(body)
    if norm is None:
        raise LearningError(f"{type(body).__name__} has no LayerNorm at its end")
    v, _ = constant_direction(norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy())
    weights = head.weights.astype(np.float64)
    unseen = np.linalg.svd(weights, full_matrices=True)[2][len(weights) :]  # [d - c, d]
    candidates = [v]
    part = unseen.T @ (unseen @ v)
    if np.linalg.norm(part) > 1e-3:
        candidates.append(part / np.linalg.norm(part))
    first, second = vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]
    if len(unseen):
        seen = first @ unseen.T
        candidates.append(unseen.T @ np.linalg.eigh(seen.T @ seen)[1][:, 0])
    logits = second @ weights.T
    errors = []
    for q in candidates:
        share = second @ q
        shrunk = (logits - np.outer(share, weights @ q)) / np.sqrt(np.clip(1 - share**2, 1e-12, None))[:, None]
        errors.append(np.abs(shrunk + (weights @ q) * share.mean() - logits).max())
    best = candidates[int(np.argmin(errors))]
    return best, float((vectors @ best).mean())


def _write_layer(model: Any, pooling: str, head: Probe, q: Array, kept: float) -> None:
    """Fill the last layer and the head of ``model`` (torch, for classification, one layer more than the body has).

    ``q`` and ``kept`` as from _lost_direction.
    """
    import torch

    base = getattr(model, model.base_model_prefix)
    layers = base.transformer.layer if hasattr(base, "transformer") else base.encoder.layer
    parts = _parts(layers[-1])
    d = len(q)
    ones = np.full(d, d**-0.5)
    mirror = np.eye(d)
    if not np.allclose(q, ones):  # Householder: swaps q and the direction that LayerNorm takes away
        w = (q - ones) / np.linalg.norm(q - ones)
        mirror -= 2 * np.outer(w, w)
    rotation = mirror - np.outer(ones, ones @ mirror)
    with torch.no_grad():
        for name, part in parts.items():
            torch.nn.init.zeros_(part.bias)
            (torch.nn.init.ones_ if "norm" in name else torch.nn.init.zeros_)(part.weight)
        if pooling == "mean":
            torch.nn.init.eye_(parts["value"].weight)
            _put(parts["output"].weight, RESIDUAL * rotation)
        else:
            norm = _parts(layers[-2])["norm2"]
            gamma, beta = norm.weight.double().numpy(), norm.bias.double().numpy()
            torch.nn.init.ones_(norm.weight)
            torch.nn.init.zeros_(norm.bias)
            far = FAR + d**0.5  # no entry of a normalised vector is below -sqrt(d)
            back = RESIDUAL * rotation * gamma - np.eye(d)
            _put(parts["widen"].weight[:d], np.eye(d))
            parts["widen"].bias[:d] = far
            _put(parts["narrow"].weight[:, :d], back)
            _put(parts["narrow"].bias, RESIDUAL * rotation @ beta - far * back.sum(axis=1))
        _write_head(model, base, head, mirror / d**0.5, head.weights.astype(np.float64) @ q * kept)


def _parts(layer: Any) -> dict[str, Any]:
    """The pieces of a layer under one set of names."""
    if hasattr(layer, "sa_layer_norm"):  # DistilBERT
        attention, forward = layer.attention, layer.ffn
        return {
            "query": attention.q_lin, "key": attention.k_lin, "value": attention.v_lin, "output": attention.out_lin,
            "norm1": layer.sa_layer_norm, "widen": forward.lin1, "narrow": forward.lin2,
            "norm2": layer.output_layer_norm,
        }  # fmt: skip
    attention = layer.attention
    return {
        "query": attention.self.query, "key": attention.self.key, "value": attention.self.value,
        "output": attention.output.dense, "norm1": attention.output.LayerNorm, "widen": layer.intermediate.dense,
        "narrow": layer.output.dense, "norm2": layer.output.LayerNorm,
    }  # fmt: skip


def _write_head(model: Any, base: Any, head: Probe, to_unit: Array, constant: Array) -> None:
    """Dense, activation and linear layer, so that the last layer's output y gives weights . (to_unit . y) + bias."""
    import torch

    weights = head.weights.astype(np.float64) / head.temperature
    bias = (head.bias.astype(np.float64) + constant) / head.temperature
    if model.config.model_type == "distilbert":
        dense, last, scale, offset = model.pre_classifier, model.classifier, 1.0, 2.0  # ReLU: the entries are above -1
    elif model.config.model_type == "electra":
        dense, last, scale, offset = model.classifier.dense, model.classifier.out_proj, 1.0, FAR
    elif model.config.model_type == "bert":
        dense, last, scale, offset = base.pooler.dense, model.classifier, SMALL, 0.0
    else:
        dense, last, scale, offset = model.classifier.dense, model.classifier.out_proj, SMALL, 0.0
    _put(dense.weight, scale * to_unit)
    torch.nn.init.constant_(dense.bias, offset)
    _put(last.weight, weights / scale)
    _put(last.bias, bias - offset * weights.sum(axis=1))


def _put(tensor: Any, values: Array) -> None:
    import torch

    tensor.copy_(torch.from_numpy(values))
