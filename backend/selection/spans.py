"""For spans: texts by the span that the model is least sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.connectors.errors import SelectionError

from .base import Floats, Indices, Pool, check_request, top_k
from .registry import register
from .uncertainty import LeastConfidence


@register("least-sure-span")
@dataclass(frozen=True, slots=True)
class LeastSureSpan:
    """One minus the probability of the least sure span that is proposed in a text.

    The minimum over the parts of a text, as in Wang and Mueller, Detecting Label Errors in Token Classification Data,
    2022 (arXiv 2210.03920), over whole spans (Culotta and McCallum, Confidence Estimation for Information Extraction,
    HLT-NAACL 2004). ``labels``: the numbers of the labels that count, all if empty. Texts in which no such span is
    proposed come after, by the doubt about all of their tags. For that doubt alone (the normalised one of Shen et al.,
    Deep Active Learning for Named Entity Recognition, ICLR 2018) take ``margin``.
    """

    labels: tuple[int, ...] = ()

    name: ClassVar[str] = "least-sure-span"
    weighs_spans: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not all(isinstance(label, int) and label >= 0 for label in self.labels):
            raise ValueError("labels must be numbers of labels, counted from 0")

    def score(self, pool: Pool) -> Floats:
        """float32 [n] in [-1, 1], below 0 without such a span. Raises SelectionError for a pool that knows no spans."""
        if pool.spans is None:
            raise SelectionError("this strategy needs spans that a model proposes; choose margin for other questions")
        spans = pool.spans
        counts = np.isin(spans.labels, self.labels) if self.labels else np.ones(len(spans), dtype=np.bool_)
        least = np.full(len(pool), np.inf, dtype=np.float32)
        np.minimum.at(least, spans.records[counts], np.clip(np.nan_to_num(spans.scores[counts]), 0, 1))
        doubt = LeastConfidence().score(pool)
        doubt = np.nan_to_num(doubt, nan=1.0)
        return np.where(np.isinf(least), doubt - 1, 1 - least).astype(np.float32)

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the highest scores first, ties in random order."""
        check_request(pool, k)
        return top_k(self.score(pool), k, rng)
