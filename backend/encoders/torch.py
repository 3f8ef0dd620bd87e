"""Encoding with torch: the reference that the other engines are measured against, and the one for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from .base import FloatMatrix
from .model_folder import ModelFolder
from .pooling import pooled_model
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
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = "fp16" if self._device == "cuda" else "fp32"
        self.name = folder.name
        self.dimension = folder.dimension
        self.fingerprint = folder.fingerprint(cache, f"torch-{precision}")
        self._tokenise = Tokeniser(folder, cache)
        self._model = pooled_model(folder).to(self._device)
        self._batch = BATCH_CUDA if self._device == "cuda" else BATCH_CPU

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """See Encoder."""
        return encode_windows(texts, self._tokenise, self._forward, self.dimension)

    def _forward(self, rows: list[list[int]]) -> FloatMatrix:
        import torch

        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        half = torch.autocast("cuda", dtype=torch.float16) if self._device == "cuda" else nullcontext()
        with torch.inference_mode(), half:
            for batch in batches_by_length(rows, self._batch):
                ids, mask = pad([rows[index] for index in batch])
                output = self._model(torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device))
                vectors[batch] = output.float().cpu().numpy()
        return vectors
