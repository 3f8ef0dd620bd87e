"""A model's network in torch: token vectors, their pooling to one vector per text, and normalising.

Token vectors become one vector per text as a model's files say, or as it was learned together with it:

``mean``, ``cls``, ``max``  have nothing to learn
``attention``               a weighted mean, the weights from one learned query; starts as the plain mean
``bilstm``                  one LSTM in each direction over the token vectors, then the mean over the tokens: it
                            brings in every token on the shortest way, where the last states would have to carry
                            the text through all steps (the mean did better in Conneau et al., 2017, "Supervised
                            Learning of Universal Sentence Representations from Natural Language Inference Data")

Any other pooling is done by a head of another package (heads), or by sentence-transformers' own modules, with what
comes after it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextlabel.connectors.errors import LearningError

from .heads import OWN_HEAD, load_head
from .library import MODULES_FILE, POOLER_FILE, modules_of

LEARNED = ("attention", "bilstm")
"""Poolings with weights of their own, in POOLER_FILE, and a line in OWN_FILE. No other library knows them."""
POOLINGS = ("mean", "cls", "max", *LEARNED)
"""Poolings that are ours too, and that a training may choose."""
BILSTM_UNITS = 256  # in each direction


def pooled_dimension(pooling: str, width: int) -> int:
    """Length of a text's vector from token vectors of length ``width``, for one of POOLINGS."""
    return 2 * BILSTM_UNITS if pooling == "bilstm" else width


def make_pooler(pooling: str, dimension: int) -> Any:
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


def library_pooler(modules: Sequence[Any], path: Path, prompt_tokens: int) -> Any:
    """The same of sentence-transformers' ``modules``, those after the encoder in ``path``.

    ``prompt_tokens``: how many at the beginning of a text are left out, where a pooling says so. Its ``save`` writes
    what it has become into another folder.
    """
    import torch

    class LibraryPooler(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(modules)

        def forward(self, hidden: Any, mask: Any) -> Any:
            features = {"token_embeddings": hidden, "attention_mask": mask, "prompt_length": prompt_tokens}
            for part in self.parts:
                features = part(features)
            return features["sentence_embedding"]

        def save(self, folder: Path) -> None:
            listed = modules_of(path)
            listed[0]["path"] = ""
            (folder / MODULES_FILE).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
            for module, part in zip(listed[1:], self.parts, strict=True):
                (folder / module["path"]).mkdir(parents=True, exist_ok=True)
                part.save(str(folder / module["path"]))

    return LibraryPooler()


def load_pooler(library: Any, path: Path, pooling: str, width: int, prompt_tokens: int = 0) -> Any:
    """The pooling of ``library``, loaded from ``path``, with what it has learned. Raises LearningError."""
    if pooling not in (*POOLINGS, OWN_HEAD):
        return library_pooler(list(library)[1:], path, prompt_tokens)
    return own_pooler(path, pooling, width)


def own_pooler(path: Path, pooling: str, width: int) -> Any:
    """The pooling of the model in ``path``, one of POOLINGS or OWN_HEAD, with what it has learned.

    Raises LearningError.
    """
    if pooling == OWN_HEAD:
        return load_head(path, width)
    pooler = make_pooler(pooling, width)
    if pooling in LEARNED:
        from safetensors.torch import load_file

        try:
            pooler.load_state_dict(load_file(path / POOLER_FILE))
        except Exception as error:  # not there, not safetensors, or of another shape
            raise LearningError(f"{path / POOLER_FILE} can't be read as {pooling}: {error}") from error
    return pooler


def token_vectors(body: Any, ids: Any, mask: Any, types: tuple[int, int] = (0, 0)) -> Any:
    """What ``body`` makes of token ids and mask, int64 [b, t]: float [b, t, width].

    ``types``: token types of the first and of the last token, for models whose tokenizer sets some (XLNet, Funnel).
    """
    if not any(types):
        return body(input_ids=ids, attention_mask=mask).last_hidden_state
    import torch

    place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    last = (place == mask.sum(dim=1, keepdim=True) - 1).long() * types[1]
    kinds = torch.where(place == 0, torch.full_like(ids, types[0]), last)
    return body(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state


def pooled_network(body: Any, pooler: Any, types: tuple[int, int] = (0, 0)) -> Any:
    """A torch module in evaluation mode: (input_ids, attention_mask), int64 [b, t] -> unit vectors float32 [b, d]."""
    import torch

    class PooledModel(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.encoder = body
            self.pooler = pooler

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = token_vectors(self.encoder, input_ids, attention_mask, types).float()
            pooled = self.pooler(hidden, attention_mask)
            return pooled / pooled.norm(dim=1, keepdim=True).clamp(min=1e-12)

    return PooledModel().eval()
