"""Encoding with torch: the reference for the other engines, and the one for a GPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.content import Readable

from .base import FloatMatrix
from .heads import OWN_HEAD
from .library import load_library, load_network
from .model_folder import ModelFolder
from .network import POOLINGS, load_pooler, own_pooler, pooled_network
from .tokenizer import Tokeniser, batches_by_length, encode_windows, pad

BATCH_CPU = 8  # texts of like length; larger is not faster on a CPU
BATCH_CUDA = 128


class TorchEncoder:
    """Encodes with torch, float32 on a CPU, float16 autocast on a CUDA device.

    ``threads`` sets torch's thread count for the whole process; None leaves it alone.
    """

    def __init__(self, folder: ModelFolder, cache: Path, *, threads: int | None = None) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._device, precision = device_and_precision()
        self.name = folder.name
        self.dimension = folder.dimension
        self.fingerprint = folder.fingerprint(cache, f"torch-{precision}")
        self._tokenise = Tokeniser(folder)
        self._model = pooled_model(folder).to(self._device)
        self._batch = BATCH_CUDA if self._device == "cuda" else BATCH_CPU

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        return encode_windows(texts, self._tokenise, self._forward, self.dimension)

    def _forward(self, rows: list[list[int]]) -> FloatMatrix:
        import torch

        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        with inference(self._device):
            for batch in batches_by_length(rows, self._batch):
                ids, mask = pad([rows[index] for index in batch])
                output = self._model(torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device))
                vectors[batch] = output.float().cpu().numpy()
        return vectors


def device_and_precision() -> tuple[str, str]:
    """``cuda`` and ``fp16`` where there is such a device, otherwise ``cpu`` and ``fp32``."""
    import torch

    return ("cuda", "fp16") if torch.cuda.is_available() else ("cpu", "fp32")


@contextmanager
def inference(device: str) -> Iterator[None]:
    """No gradients, and half precision where it is ``cuda`` that computes."""
    import torch

    half = torch.autocast("cuda", dtype=torch.float16) if device == "cuda" else nullcontext()
    with torch.inference_mode(), half:
        yield


def pooled_model(folder: ModelFolder, *, attention: str | None = None) -> Any:
    """The whole model of ``folder`` in one module, see pooled_network. Raises LearningError.

    ``attention`` as in load_library: ``eager`` is the one that traces into plain ONNX operators.
    """
    return pooled_network(*load_parts(folder, attention=attention), folder.reading.types)


def load_parts(folder: ModelFolder, *, attention: str | None = None) -> tuple[Any, Any]:
    """Body and pooling of ``folder``, in float32, for training too. Raises LearningError."""
    if folder.reading.plain and folder.pooling in (*POOLINGS, OWN_HEAD):
        return load_network(folder.path, attention=attention), own_pooler(folder.path, folder.pooling, folder.width)
    library = load_library(folder.path, attention=attention)
    pooler = load_pooler(library, folder.path, folder.pooling, folder.width, folder.prompt_tokens)
    return library[0].auto_model, pooler


def load_body(folder: ModelFolder, *, attention: str | None = None, middle: bool = False) -> Any:
    """The transformer of ``folder`` in float32, without pooling, or its lower half (``middle``). Raises LearningError.

    ``attention`` as in load_library.
    """
    if folder.reading.plain:
        body = load_network(folder.path, attention=attention)
    else:
        body = load_library(folder.path, attention=attention)[0].auto_model
    if not middle:
        return body
    config = copy.deepcopy(body.config)
    config.num_hidden_layers = max(1, config.num_hidden_layers // 2)
    half = type(body)(config)
    half.load_state_dict(body.state_dict(), strict=False)
    return half.eval()


# -- The last LayerNorm ------------------------------------------------------------------------------------------------

# A token vector of BERT and its kin is what the last LayerNorm gives: h = gamma * n + beta, where the entries of n sum
# to 0. So with v = (1 / gamma) / |1 / gamma| every h, and every mean of several, has v . h = v . beta: a constant. The
# export to a plain transformers folder needs that constant to be 0 to be exact (see extra_layer).
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
