"""Looking one label ahead: which record would leave the model with the fewest errors on all the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nextlabel.backend.activation import SIGMOID, SOFTMAX
from nextlabel.backend.blas import one_blas_thread

from .base import Floats, Indices, Pool, at_least, check_request, to_unit, top_k
from .distances import MOST_LABELLED, blocks
from .registry import register
from .uncertainty import Margin

_FEWEST = 1e-6  # probability, inside logarithms
_BUDGET = 4_000_000  # numbers that are looked at together


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What the updates need: of candidates [s] and of the records [m] that errors are counted on."""

    candidates: Floats  # probabilities [s, c]
    others: Floats  # probabilities [m, c]
    reach: Floats  # [s, m]: how far the label of a candidate moves the logits of another record


@register("expected-error")
@dataclass(frozen=True, slots=True)
class ExpectedError:
    """The lowest expected error after one more label, with the linear head updated in closed form for each answer.

    Roy and McCallum, Toward Optimal Active Learning through Sampling Estimation of Error Reduction, ICML 2001: the
    mean, over the answers that the model expects, of the error that it then expects of itself on a random ``sample``
    of the pool. Refitting is replaced by one Newton step under Böhning's bound of the curvature (Multinomial Logistic
    Regression Algorithm, 1992), in which the new label moves the logits of record z by (answer - prediction) x reach,
    reach being a product of the two vectors under the inverse of I / ``strength`` + X'X / 2 (several labels: / 4).
    Only the ``top`` records by margin (or k, if that is more) are candidates, and of each only its ``answers``
    likeliest classes.
    """

    top: int = 200
    sample: int = 500
    answers: int = 5
    strength: float = 3.0

    name: ClassVar[str] = "expected-error"

    def __post_init__(self) -> None:
        at_least(1, top=self.top, sample=self.sample, answers=self.answers)
        if not self.strength > 0:
            raise ValueError("strength must be above 0")

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], the largest expected gain first."""
        check_request(pool, k)
        if k == 0:
            return np.empty(0, dtype=np.int64)
        among = top_k(Margin().score(pool), min(len(pool), max(self.top, k)), rng)
        others = rng.choice(len(pool), min(self.sample, len(pool)), replace=False)
        with one_blas_thread():
            ahead = _Ahead(_probabilities(pool, among), _probabilities(pool, others), self._reach(pool, among, others))
            errors = ERRORS[pool.activation](ahead, self.answers)
        return among[top_k(-errors, k, rng)]

    def _reach(self, pool: Pool, among: Indices, others: Indices) -> Floats:
        """float32 [s, m]: x' A z / (1 + b x' A x), A being the inverse curvature and b its bound for one record."""
        bound = np.float32(pool.activation.curvature)
        candidates = pool.unit_vectors(among)
        known = to_unit(pool.labelled_vectors[-MOST_LABELLED:])
        curvature = np.eye(candidates.shape[1], dtype=np.float32) / np.float32(self.strength)
        if len(known):
            curvature += bound * (known.T @ known)
        solved = np.linalg.solve(curvature, candidates.T).T  # A x
        own = np.einsum("ij,ij->i", candidates, solved)
        return np.asarray((solved @ pool.unit_vectors(others).T) / (1 + bound * own)[:, None], dtype=np.float32)


def _probabilities(pool: Pool, rows: Indices) -> Floats:
    p = np.clip(np.nan_to_num(np.asarray(pool.probabilities[rows], dtype=np.float32)), _FEWEST, 1 - _FEWEST)
    return pool.activation.normalised(p)


def _errors(ahead: _Ahead, answers: int) -> Floats:
    """float32 [s]: the expected share of wrong guesses after the label of each candidate."""
    p, log_others = ahead.candidates, np.log(ahead.others)
    classes = p.shape[1]
    likely = np.argsort(-p, axis=1, kind="stable")[:, :answers]
    chances = np.take_along_axis(p, likely, axis=1)
    chances = chances / chances.sum(axis=1, keepdims=True)
    errors = np.zeros(len(p), dtype=np.float32)
    step = max(1, _BUDGET // log_others.size)
    for rows in blocks(len(p), step):
        for place in range(likely.shape[1]):
            push = np.eye(classes, dtype=np.float32)[likely[rows, place]] - p[rows]  # [r, c]
            logits = log_others + ahead.reach[rows, :, None] * push[:, None, :]
            logits -= logits.max(axis=2, keepdims=True)
            surest = 1 / np.exp(logits, out=logits).sum(axis=2)  # the best guess has a logit of 0 now
            errors[rows] += chances[rows, place] * (1 - surest.mean(axis=1))
    return errors


def _label_errors(ahead: _Ahead, answers: int) -> Floats:
    """float32 [s]: the same for several labels, each an own yes or no; the mean over labels."""
    p, others = ahead.candidates, ahead.others
    logits = np.log(others / (1 - others))
    errors = np.zeros(len(p), dtype=np.float32)
    step = max(1, _BUDGET // max(1, len(others)))
    for label in range(p.shape[1]):
        for rows in blocks(len(p), step):
            for answer, chance in ((1, p[rows, label]), (0, 1 - p[rows, label])):
                moved = logits[:, label] + ahead.reach[rows] * (answer - p[rows, label])[:, None]
                errors[rows] += chance * (1 / (1 + np.exp(np.abs(moved)))).mean(axis=1)
    return errors / np.float32(p.shape[1])


ERRORS = {SOFTMAX: _errors, SIGMOID: _label_errors}
