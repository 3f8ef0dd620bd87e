"""A whole classifier as one ONNX file: token ids in, probabilities out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.onnx import OPSET
from nextlabel.backend.encoders.tokenizer import batches_by_length, pad
from nextlabel.backend.encoders.torch import pooled_model
from nextlabel.backend.models.probe import Probe

BATCH = 32


def trace_classifier(folder: ModelFolder, head: Probe, file: Path, ids: Sequence[Sequence[int]]) -> None:
    """Write body, pooling and head to ``file``; ``ids`` are some texts to trace with."""
    import torch

    network = pooled_model(folder)
    weights, bias = (torch.from_numpy(part / np.float32(head.temperature)) for part in (head.weights, head.bias))

    class Classifier(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            logits = self.network(input_ids, attention_mask) @ weights.T + bias
            return head.activation.of_tensor(logits)

    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every shape that it takes for constant
        torch.onnx.export(
            Classifier().eval(),
            tuple(map(torch.from_numpy, pad(ids))),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["probabilities"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "probabilities": {0: "texts"}},
        )


def run_onnx(file: Path, ids: Sequence[Sequence[int]], classes: int) -> npt.NDArray[np.float32]:
    """Probabilities float32 [n, classes] of tokenised texts."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    out = np.empty((len(ids), classes), np.float32)
    for batch in batches_by_length(ids, BATCH):
        padded, mask = pad([ids[row] for row in batch])
        out[batch] = session.run(None, {"input_ids": padded, "attention_mask": mask})[0]
    return out
