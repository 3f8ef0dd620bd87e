"""From token vectors to one vector a text: as a model's files say, or learned together with it.

``mean``, ``cls``, ``max``  have nothing to learn
``attention``               a weighted mean, the weights from one learned query; starts as the plain mean
``bilstm``                  one LSTM in each direction over the token vectors, then the mean over the tokens: it
                            brings in every token on the shortest way, where the last states would have to carry
                            the text through all steps (the mean did better in Conneau et al., 2017, "Supervised
                            Learning of Universal Sentence Representations from Natural Language Inference Data")
"""

from __future__ import annotations

from typing import Any

from nextlabel.backend.learning.model_folder import BILSTM_UNITS, Pooling


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
