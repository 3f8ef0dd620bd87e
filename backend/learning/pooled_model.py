"""The model as torch sees it: encoder, pooling and normalising in one module. Both engines start from it."""

from __future__ import annotations

from typing import Any

from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.connectors.errors import LearningError


def pooled_model(folder: ModelFolder) -> Any:
    """A torch module in evaluation mode: (input_ids, attention_mask), int64 [b, t] -> unit vectors float32 [b, d]."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as chatter

    folder.weight_files()  # a better message than the library's when there are none
    chatter.disable_progress_bar()
    try:
        # "eager" attention is the one that traces into plain ONNX operators.
        encoder = AutoModel.from_pretrained(
            folder.path, attn_implementation="eager", use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # a configuration or a file that the library can't make sense of
        raise LearningError(f"{folder.path} can't be loaded as a text encoder: {error}") from error

    class PooledModel(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            if folder.pooling == "cls":
                pooled = hidden[:, 0]
            elif folder.pooling == "max":
                pooled = (hidden * mask + (mask - 1) * 1e9).max(dim=1).values
            else:
                pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
            return pooled / pooled.norm(dim=1, keepdim=True).clamp(min=1e-12)

    return PooledModel().eval()
