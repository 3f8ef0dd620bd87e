"""Running a network of transformers over windows: batches of like length, results put together text by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.tokenizer import batches_by_length, pad

from .tokens import TokenisedText, Window

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
