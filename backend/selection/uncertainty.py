"""Strategies that ask where the model doubts. Survey: B. Settles, Active Learning Literature Survey, 2009, §3.1.

Scores of predictions lie in [0, 1]: 0 is certain, 1 is as doubtful as can be. They are computed in blocks of rows that
stay in the processor's cache, with no sort and no copy of the pool. Beside them stand the doubt about single spans, and
that which labelled records raise: those that are alike, and yet the model says something else about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Activation
from nextlabel.backend.blas import one_blas_thread
from nextlabel.connectors.errors import SelectionError

from .base import Floats, Indices, Pool, ScoringStrategy, at_least, to_unit
from .distances import MOST_LABELLED, blocks
from .registry import register

_BLOCK = 16_384  # rows
_COMPARED = 4_096  # rows of the pool that are compared with labelled ones together
_Measure: TypeAlias = Callable[[Floats], Floats]


class _Uncertainty(ScoringStrategy):
    """The common half: score in blocks."""

    name: ClassVar[str]
    measures: ClassVar[Mapping[Activation, _Measure]]

    def score(self, pool: Pool) -> Floats:
        """float32 [n] in [0, 1], higher is more doubtful."""
        measure = type(self).measures[pool.activation]
        scores: Floats = np.empty(len(pool), dtype=np.float32)
        for rows in blocks(len(pool), _BLOCK):
            values = measure(np.asarray(pool.probabilities[rows], dtype=np.float32))
            scores[rows] = np.minimum(np.maximum(values, 0.0), 1.0)
        return scores


def _xlogx(p: Floats) -> Floats:
    # 0 log 0 is 0; the smallest normal number stands in for 0 inside the logarithm.
    return np.asarray(p * np.log(np.maximum(p, np.finfo(np.float32).tiny)), dtype=np.float32)


def _entropy(p: Floats) -> Floats:
    classes = p.shape[1]
    if classes < 2:
        return np.zeros(len(p), dtype=np.float32)
    return np.asarray(-np.sum(_xlogx(p), axis=1) / np.log(classes), dtype=np.float32)


def _label_entropy(p: Floats) -> Floats:
    return np.asarray(-np.mean(_xlogx(p) + _xlogx(1 - p), axis=1) / np.log(2), dtype=np.float32)


def _margin(p: Floats) -> Floats:
    # Column by column: a maximum along short rows is several times slower.
    first = np.full(len(p), -np.inf, dtype=np.float32)
    second = np.zeros(len(p), dtype=np.float32)
    for column in p.T:
        np.maximum(second, np.minimum(first, column), out=second)
        np.maximum(first, column, out=first)
    return 1 - (first - second)


def _label_margin(p: Floats) -> Floats:
    return np.asarray(1 - np.min(np.abs(2 * p - 1), axis=1), dtype=np.float32)


def _least_confidence(p: Floats) -> Floats:
    first = np.full(len(p), -np.inf, dtype=np.float32)
    for column in p.T:
        np.maximum(first, column, out=first)
    classes = p.shape[1]
    return (1 - first) * np.float32(classes / (classes - 1)) if classes > 1 else 1 - first


def _label_least_confidence(p: Floats) -> Floats:
    return np.asarray(1 - np.prod(np.maximum(p, 1 - p), axis=1), dtype=np.float32)


@register("entropy")
@dataclass(frozen=True, slots=True)
class Entropy(_Uncertainty):
    """The entropy of the prediction (Shannon, 1948) over its maximum; several labels: the mean over labels."""

    name: ClassVar[str] = "entropy"
    measures: ClassVar[Mapping[Activation, _Measure]] = {SOFTMAX: _entropy, SIGMOID: _label_entropy}


@register("margin")
@dataclass(frozen=True, slots=True)
class Margin(_Uncertainty):
    """One minus the lead of the best class over the second (Scheffer, Decomain and Wrobel, IDA 2001).

    Several labels: the label nearest to even odds decides (Brinker, On Active Learning in Multi-label
    Classification, 2006).
    """

    name: ClassVar[str] = "margin"
    measures: ClassVar[Mapping[Activation, _Measure]] = {SOFTMAX: _margin, SIGMOID: _label_margin}


@register("least-confidence")
@dataclass(frozen=True, slots=True)
class LeastConfidence(_Uncertainty):
    """The chance that the best guess is wrong (Lewis and Gale, SIGIR 1994) over its maximum.

    Several labels: the chance that the most likely set of labels is not the right one.
    """

    name: ClassVar[str] = "least-confidence"
    measures: ClassVar[Mapping[Activation, _Measure]] = {SOFTMAX: _least_confidence, SIGMOID: _label_least_confidence}


@register("least-sure-span")
@dataclass(frozen=True, slots=True)
class LeastSureSpan(ScoringStrategy):
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
        doubt = np.nan_to_num(LeastConfidence().score(pool), nan=1.0)
        return np.where(np.isinf(least), doubt - 1, 1 - least).astype(np.float32)


@register("contrastive")
@dataclass(frozen=True, slots=True)
class Contrastive(ScoringStrategy):
    """The mean divergence from the predictions of the nearest labelled records to that of the record itself.

    CAL: Margatina, Vernikos, Barrault and Aletras, Active Learning by Acquiring Contrastive Examples, EMNLP 2021.
    The Kullback-Leibler divergence, over the ``neighbours`` nearest by cosine. A pool without
    ``labelled_probabilities`` is compared with the labels themselves, as in an ablation of the paper. Several labels:
    the sum of the divergences of each. With nothing labelled yet all scores are equal.
    """

    neighbours: int = 10

    name: ClassVar[str] = "contrastive"

    def __post_init__(self) -> None:
        at_least(1, neighbours=self.neighbours)

    def score(self, pool: Pool) -> Floats:
        """float32 [n], 0 or more. Reads all vectors of the pool, 4,096 at a time."""
        scores: Floats = np.zeros(len(pool), dtype=np.float32)
        known = len(pool.labelled_vectors)
        if known == 0:
            return scores
        rows = np.unique(np.linspace(0, known - 1, min(known, MOST_LABELLED)).astype(np.int64))  # evenly spread
        labelled = to_unit(pool.labelled_vectors[rows])
        said = pool.activation.distributions(_said(pool, rows))
        negative_entropy = (said * np.log(said)).sum(axis=1)
        near = min(self.neighbours, len(rows))
        with one_blas_thread():
            for block in blocks(len(pool), _COMPARED):
                at = np.arange(block.start, block.stop, dtype=np.int64)
                cosines = pool.unit_vectors(at) @ labelled.T
                nearest = np.argpartition(cosines, len(rows) - near, axis=1)[:, len(rows) - near :]
                log_guess = np.log(pool.activation.distributions(pool.probabilities[at]))
                cross = (said[nearest].mean(axis=1) * log_guess).sum(axis=1)
                scores[at] = np.maximum(negative_entropy[nearest].mean(axis=1) - cross, 0.0)
        return scores


def _said(pool: Pool, rows: Indices) -> npt.NDArray[Any]:
    """What labelled ``rows`` are compared by, [m, c]: predictions, or the labels if there are none."""
    if len(pool.labelled_probabilities):
        return pool.labelled_probabilities[rows]
    if len(pool.labelled_targets) == 0:
        raise SelectionError("contrastive compares records with labels, and spans are none; choose margin-diverse")
    return pool.activation.flags(pool.labelled_targets[rows], pool.probabilities.shape[1])
