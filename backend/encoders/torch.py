"""The models as torch sees them, and encoding with them: the reference for the other engines, and the one for a GPU.

Token vectors become one vector per text as a model's files say, or as it was learned together with it:

``mean``, ``cls``, ``max``  have nothing to learn
``attention``               a weighted mean, the weights from one learned query; starts as the plain mean
``bilstm``                  one LSTM in each direction over the token vectors, then the mean over the tokens: it
                            brings in every token on the shortest way, where the last states would have to carry
                            the text through all steps (the mean did better in Conneau et al., 2017, "Supervised
                            Learning of Universal Sentence Representations from Natural Language Inference Data")

``PooledModel`` is the whole model in one module: encoder, pooling and normalising.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .base import FloatMatrix
from .model_folder import BILSTM_UNITS, LEARNED, POOLER_FILE, ModelFolder, Pooling
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
        self._tokenise = Tokeniser(folder, cache)
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


def make_pooler(pooling: Pooling, dimension: int) -> Any:
    """A torch module (token vectors float32 [b, t, dimension], mask int64 [b, t]) -> [b, pooled_dimension()].

    Padding changes nothing, whatever its length, and every operation traces to ONNX. Each row has a token.
    """
    import torch

    class Plain(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def forward(self, hidden: Any, mask: Any) -> Any:
            if pooling == "cls":
                return hidden[:, 0]
            real = mask.unsqueeze(-1).to(hidden.dtype)
            if pooling == "max":
                return (hidden * real + (real - 1) * 1e9).max(dim=1).values
            return _mean(hidden, mask)

    class Attention(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.query = torch.nn.Parameter(torch.zeros(dimension))

        def forward(self, hidden: Any, mask: Any) -> Any:
            # Not a product of matrices: that would become 8 bits, and ONNX Runtime takes no vector for it.
            scores = (hidden * self.query).sum(dim=2) / dimension**0.5
            share = scores.masked_fill(mask == 0, -1e9).softmax(dim=1)
            return (hidden * share.unsqueeze(-1)).sum(dim=1)

    class BiLstm(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.forwards = torch.nn.LSTM(dimension, BILSTM_UNITS, batch_first=True)
            self.backwards = torch.nn.LSTM(dimension, BILSTM_UNITS, batch_first=True)

        def forward(self, hidden: Any, mask: Any) -> Any:
            # Each text is turned round within its own length, so that both directions meet the padding last.
            place = torch.arange(hidden.shape[1], device=hidden.device)
            turned = mask.sum(dim=1, keepdim=True) - 1 - place
            order = torch.where(turned >= 0, turned, place).unsqueeze(-1)
            onward, _ = self.forwards(hidden)
            back, _ = self.backwards(hidden.gather(1, order.expand(-1, -1, dimension)))
            # The mean doesn't ask for an order: what is turned need not be turned back.
            return torch.cat([_mean(onward, mask), _mean(back, mask)], dim=1)

    return {"attention": Attention, "bilstm": BiLstm}.get(pooling, Plain)()


def _mean(hidden: Any, mask: Any) -> Any:
    real = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9)


def pooled_model(folder: ModelFolder) -> Any:
    """A torch module in evaluation mode: (input_ids, attention_mask), int64 [b, t] -> unit vectors float32 [b, d]."""
    import torch

    # "eager" attention is the one that traces into plain ONNX operators.
    body, pooler = load_body(folder, attention="eager"), load_pooler(folder)

    class PooledModel(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.encoder = body
            self.pooler = pooler

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
            pooled = self.pooler(hidden, attention_mask)
            return pooled / pooled.norm(dim=1, keepdim=True).clamp(min=1e-12)

    return PooledModel().eval()


def load_body(folder: ModelFolder, *, attention: str | None = None, middle: bool = False) -> Any:
    """The transformer of ``folder`` in float32, without pooling, or its lower half (``middle``). Raises LearningError.

    ``attention`` names one of transformers' implementations; None is the fastest that the model has: not each has all.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as chatter

    folder.weight_files()  # a better message than the library's when there are none
    chatter.disable_progress_bar()
    verbosity = chatter.get_verbosity()
    # It warns of every checkpoint without a pooler, which is not used here, and lists the upper half's weights.
    chatter.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True)
        if middle:
            config.num_hidden_layers = max(1, config.num_hidden_layers // 2)
        body, found = AutoModel.from_pretrained(
            folder.path,
            config=config,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # a configuration or a file that the library can't make sense of
        raise LearningError(f"{folder.path} can't be loaded as a text encoder: {error}") from error
    finally:
        chatter.set_verbosity(verbosity)
    if missing := sorted(name for name in found["missing_keys"] if "pooler" not in name):
        raise LearningError(
            f"{folder.path} lacks weights of the encoder, {missing[0]} and {len(missing) - 1} more, which would be "
            "random numbers; get the model anew, or check that config.json goes with model.safetensors"
        )
    return body


def load_pooler(folder: ModelFolder) -> Any:
    """The pooling of ``folder`` as a torch module, with what it has learned. Raises LearningError."""
    pooler = make_pooler(folder.pooling, folder.width)
    if folder.pooling in LEARNED:
        from safetensors.torch import load_file

        try:
            pooler.load_state_dict(load_file(folder.path / POOLER_FILE))
        except Exception as error:  # not there, not safetensors, or of another shape
            raise LearningError(f"{folder.path / POOLER_FILE} can't be read as {folder.pooling}: {error}") from error
    return pooler


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
