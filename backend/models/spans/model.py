"""A fine-tuned span model: a plain folder of transformers for token classification, with BIO or BILOU tags.

Networks of transformers run over windows, in batches of like length; results are put together text by text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import default_cache_dir
from nextlabel.backend.encoders.model_folder import read_folder
from nextlabel.backend.encoders.tokenizer import batches_by_length, pad
from nextlabel.connectors.errors import LearningError

from .decoding import SpanPrediction, decode
from .tagging import TagSet
from .tokens import SpanTokeniser, TokenisedText, Window

BATCH_CPU = 8  # windows of like length; larger is not faster on a CPU
BATCH_CUDA = 128


def run_windows(
    network: Any, read: Callable[[Any], Any], texts: Sequence[TokenisedText], width: int, *, types: bool
) -> list[npt.NDArray[np.float32]]:
    """What ``network`` says of every unit of every text: float32 [u, width] a text.

    ``read`` picks a tensor [b, t, width] out of what the network returns. Where windows overlap, a unit's row comes
    from the window in which it has most around it. ``types``: give the network token types.
    """
    import torch

    jobs = [
        (row, window, take)
        for row, text in enumerate(texts)
        for window, take in zip(text.windows, text.nearest_middle() if text.windows else (), strict=True)
    ]
    out: list[npt.NDArray[np.float32]] = [np.zeros((len(text.bounds), width), np.float32) for text in texts]
    device = next(network.parameters()).device
    on_gpu = device.type == "cuda"
    half = torch.autocast("cuda", dtype=torch.float16) if on_gpu else nullcontext()
    network.eval()
    with torch.inference_mode(), half:
        for batch in batches_by_length([window.ids for _, window, _ in jobs], BATCH_CUDA if on_gpu else BATCH_CPU):
            inputs = model_inputs([jobs[index][1] for index in batch], types=types)
            values = read(network(**{name: tensor.to(device) for name, tensor in inputs.items()})).float().cpu().numpy()
            for index, rows in zip(batch, values, strict=True):
                row, window, take = jobs[index]
                out[row][window.units[take]] = rows[window.positions[take]]
    return out


def model_inputs(windows: Sequence[Window], *, types: bool) -> dict[str, Any]:
    """``input_ids``, ``attention_mask`` and, if asked, ``token_type_ids``: int64 tensors [b, longest]."""
    import torch

    ids, mask = pad([window.ids for window in windows])
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if types:
        inputs["token_type_ids"] = torch.from_numpy(pad([window.types for window in windows])[0])
    return inputs


def takes_types(config: Any) -> bool:
    """Whether a model of this configuration tells two sequences apart by token types."""
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1


def best_device() -> str:
    """``cuda``, ``mps`` or ``cpu``: the first that is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class SpanModel:
    """Finds spans with a fine-tuned network. Safe to share between threads."""

    def __init__(self, network: Any, tokeniser: SpanTokeniser) -> None:
        self._network = network
        self._tokenise = tokeniser
        self.tags = TagSet.from_config(network.config.id2label)

    @classmethod
    def load(cls, folder: str | Path, *, max_length: int | None = None) -> SpanModel:
        """Read a folder that ``SpanTrainer`` wrote, or any other model for token classification with such tags.

        ``max_length`` in tokens defaults to what the folder says; longer texts are read in windows. Raises
        LearningError if it can't be loaded or its labels are no BIO or BILOU tags.
        """
        from transformers import AutoModelForTokenClassification

        source = read_folder(Path(folder), max_length=max_length)
        source.weight_files()  # a better message than the library's when there are none
        try:
            network = AutoModelForTokenClassification.from_pretrained(
                source.path, use_safetensors=True, local_files_only=True
            )
        except Exception as error:  # a configuration or a file that the library can't make sense of
            raise LearningError(f"{folder} can't be loaded as a span model: {error}") from error
        return cls(network.float().to(best_device()), SpanTokeniser(source, default_cache_dir()))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it tells apart."""
        return self.tags.labels

    def predict(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> list[SpanPrediction]:
        """Spans and uncertainty of every text, in character offsets of the text as it was given."""
        tokenised = self._tokenise(texts, contexts)
        return decode(self.logits(tokenised), [text.bounds for text in tokenised], self.tags)

    def logits(self, texts: Sequence[TokenisedText]) -> list[npt.NDArray[np.float32]]:
        """Float32 [u, tags] for every text of u units."""
        return network_logits(self._network, texts, len(self.tags))


def network_logits(network: Any, texts: Sequence[TokenisedText], tags: int) -> list[npt.NDArray[np.float32]]:
    """What a network for token classification says: float32 [u, tags] for every text of u units."""
    return run_windows(network, lambda output: output.logits, texts, tags, types=takes_types(network.config))
