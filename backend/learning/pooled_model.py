"""The model as torch sees it: encoder, pooling and normalising in one module. Both engines start from it."""

from __future__ import annotations

from typing import Any

from nextlabel.backend.learning.model_folder import LEARNED, POOLER_FILE, ModelFolder
from nextlabel.backend.learning.poolers import make_pooler
from nextlabel.connectors.errors import LearningError


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


def load_body(folder: ModelFolder, *, attention: str) -> Any:
    """The transformer of ``folder`` in float32, without pooling. Raises LearningError.

    ``attention`` names one of transformers' implementations: ``sdpa`` is the fastest that every model has.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as chatter

    folder.weight_files()  # a better message than the library's when there are none
    chatter.disable_progress_bar()
    verbosity = chatter.get_verbosity()
    chatter.set_verbosity_error()  # it warns of every checkpoint without a pooler, which is not used here
    try:
        body, found = AutoModel.from_pretrained(
            folder.path,
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
