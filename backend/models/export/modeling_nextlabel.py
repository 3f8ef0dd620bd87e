"""A text classifier of nextlabel's whose pooling transformers has no class for.

This file is copied into an exported model's folder and loaded from there by transformers (``trust_remote_code=True``):
it must stand alone. Nothing in nextlabel imports it, which is why torch is imported at its top.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class NextlabelConfig(PretrainedConfig):  # type: ignore[misc]  # transformers comes without types here
    """``encoder``: the body's own configuration. ``pooling``: mean, cls, max, attention or bilstm."""

    model_type = "nextlabel"

    def __init__(
        self, encoder: dict[str, Any] | None = None, pooling: str = "mean", units: int = 256, **others: Any
    ) -> None:
        self.encoder = encoder or {}
        self.pooling = pooling
        self.units = units
        super().__init__(**others)


class Pooler(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
    """Token vectors [b, t, d] and mask [b, t] -> [b, width]."""

    def __init__(self, pooling: str, dimension: int, units: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.width = 2 * units if pooling == "bilstm" else dimension
        if pooling == "attention":
            self.query = torch.nn.Parameter(torch.zeros(dimension))
        elif pooling == "bilstm":
            self.forwards = torch.nn.LSTM(dimension, units, batch_first=True)
            self.backwards = torch.nn.LSTM(dimension, units, batch_first=True)

    def forward(self, hidden: Any, mask: Any) -> Any:
        """Padding changes nothing."""
        real = mask.unsqueeze(-1).to(hidden.dtype)
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "max":
            return (hidden * real + (real - 1) * 1e9).max(dim=1).values
        if self.pooling == "attention":
            scores = hidden @ self.query / hidden.shape[-1] ** 0.5
            share = scores.masked_fill(mask == 0, -1e9).softmax(dim=1)
            return (hidden * share.unsqueeze(-1)).sum(dim=1)
        if self.pooling == "bilstm":
            place = torch.arange(hidden.shape[1], device=hidden.device)
            turned = mask.sum(dim=1, keepdim=True) - 1 - place
            order = torch.where(turned >= 0, turned, place).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            hidden = torch.cat([self.forwards(hidden)[0], self.backwards(hidden.gather(1, order))[0]], dim=-1)
        return (hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9)


class NextlabelForSequenceClassification(PreTrainedModel):  # type: ignore[misc]
    """Body -> pooling -> unit vector -> linear."""

    config_class = NextlabelConfig
    base_model_prefix = "encoder"

    def __init__(self, config: NextlabelConfig) -> None:
        super().__init__(config)
        settings = dict(config.encoder)
        body = AutoConfig.for_model(settings.pop("model_type"), **settings)
        self.encoder = AutoModel.from_config(body)
        self.pooler = Pooler(config.pooling, body.hidden_size, config.units)
        self.classifier = torch.nn.Linear(self.pooler.width, config.num_labels)
        self.post_init()

    def forward(self, input_ids: Any, attention_mask: Any = None, **_: Any) -> SequenceClassifierOutput:
        """``logits`` [b, c]."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = self.pooler(hidden, attention_mask)
        return SequenceClassifierOutput(logits=self.classifier(torch.nn.functional.normalize(pooled, dim=-1)))
