"""The network that is trained: encoder, pooling, unit vector, dropout, linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.model_folder import ModelFolder, Pooling, pooled_dimension
from nextlabel.backend.encoders.pooling import load_body, load_pooler, make_pooler
from nextlabel.backend.encoders.tokenizer import pool_windows

from .spec import TrainingSpec

LARGEST_PAD = 16  # ids below it are always kept, so that padding keeps its id


def text_classifier(folder: ModelFolder, spec: TrainingSpec, classes: int) -> Any:
    """A torch module (input_ids, attention_mask), int64 [w, t] -> logits float32 [b, classes].

    With ``owner`` and ``shares`` (see WindowedTexts.batch) the w rows are the windows of ``texts`` texts; without,
    each is a text. Its method ``vectors`` gives the unit vectors of the rows, float [w, d].

    It starts from the weights in ``folder``, and from its pooling if ``spec`` names no other. The unit vector is
    multiplied by the root of its length, which gives its numbers a variance of about 1: what a linear layer is
    used to. The head that is saved has this factor in its weights. Raises LearningError.
    """
    import torch

    pooling: Pooling = folder.pooling if spec.pooling == "model" else spec.pooling
    body = load_body(folder, attention="sdpa")
    kept = pooling == folder.pooling
    pooled = load_pooler(folder) if kept else make_pooler(pooling, folder.width)
    dimension = pooled_dimension(pooling, folder.width)

    class TextClassifier(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.pooling, self.dimension = pooling, dimension
            self.body, self.pooler = body, pooled
            self.dropout = torch.nn.Dropout(spec.dropout)
            self.head = torch.nn.Linear(dimension, classes)

        def forward(
            self, input_ids: Any, attention_mask: Any, owner: Any = None, shares: Any = None, texts: int = 0
        ) -> Any:
            unit = self.vectors(input_ids, attention_mask)
            if owner is not None and texts < len(unit):
                unit = pool_windows(unit, owner, shares, texts)
            return self.read(unit)

        def vectors(self, input_ids: Any, attention_mask: Any) -> Any:
            """Unit vectors of the windows."""
            hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            vector = self.pooler(hidden.float(), attention_mask).float()
            return vector / vector.norm(dim=1, keepdim=True).clamp(min=1e-12)

        def read(self, unit: Any) -> Any:
            """Logits of texts from their unit vectors."""
            return self.head(self.dropout(unit * dimension**0.5))

    return TextClassifier()


class Vocabulary:
    """Trains only the rows of the token table that the texts need.

    A row without a token in any text gets no gradient, so nothing but weight decay would ever change it; but the
    optimiser would walk over all of them, which is half of a small encoder, at every step. Tables that aren't a
    plain one, or whose padding has a high id, are left as they are.
    """

    def __init__(self, body: Any, rows: Sequence[Sequence[int]]) -> None:
        import torch

        self._table = body.get_input_embeddings()
        self._kept: npt.NDArray[np.int64] | None = None
        pad = getattr(body.config, "pad_token_id", None) or 0
        if type(self._table) is not torch.nn.Embedding or pad >= LARGEST_PAD:
            return
        used = np.unique(np.concatenate([np.arange(LARGEST_PAD), *(np.asarray(row) for row in rows)]))
        kept = used[used < self._table.num_embeddings].astype(np.int64)
        if kept[-1] != used[-1]:
            return  # a token that the table does not have: the model itself will say so
        self._kept, self._full = kept, self._table.weight.detach().clone()
        self._table.weight = torch.nn.Parameter(self._full[torch.from_numpy(kept)])

    def narrow(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Token ids as places in the smaller table."""
        if self._kept is None:
            return [list(row) for row in rows]
        return [np.searchsorted(self._kept, np.asarray(row, np.int64)).tolist() for row in rows]

    def widen(self) -> None:
        """Put the whole table back, with the rows that were trained."""
        import torch

        if self._kept is not None:
            self._full[torch.from_numpy(self._kept)] = self._table.weight.detach().to(self._full.device)
            self._table.weight = torch.nn.Parameter(self._full)
            self._kept = None


def parameter_groups(network: Any, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Parameters for AdamW: body and what stands on it at their own rates, no decay of biases and of norms."""
    groups = []
    for parts, rate in (
        ((network.body,), spec.learning_rate),
        ((network.pooler, network.head), spec.head_learning_rate),
    ):
        parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
        for decay, chosen in (
            (spec.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups
