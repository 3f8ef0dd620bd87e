"""When to stop labelling: criteria as objects. Each looks at the rounds so far, and gives advice with its reason.

    advice = SmallGain(threshold=0.005, labels=100).advise(rounds)
    advice.stop, advice.reason

None of them stops anything: people decide. A criterion that can't tell yet says so and advises to go on.
Compared in Kurlandski and Bloodgood, Impact of Stop Sets on Stopping Active Learning for Text Classification, 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .base import at_least


@dataclass(frozen=True, slots=True)
class Round:
    """What is known after one refit. What is not known is left out.

    ``labels``: answers that the model was trained on. ``predictions``: its classes for a fixed set of records that
    nobody labels, int64 [s], or bool [s, c] for several labels; the same records in every round. ``confidence``:
    mean probability of its guesses over the records still open. ``audit``: accuracy on the answered audit slice, of
    ``audit_size`` records. ``found`` and ``remaining_high``: positives found so far, and the upper end of the interval
    of those that are left.
    """

    labels: int
    predictions: npt.NDArray[Any] | None = None
    confidence: float | None = None
    audit: float | None = None
    audit_size: int = 0
    found: int | None = None
    remaining_high: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """``stop`` or go on, the ``reason`` in one sentence, and the figure that decided, None if there is none yet."""

    stop: bool
    reason: str
    figure: float | None = None


@runtime_checkable
class StoppingCriterion(Protocol):
    """Advises whether to go on."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    def advise(self, rounds: Sequence[Round]) -> Advice:
        """Advice after the last of ``rounds``, which are in order. Never raises for rounds that know too little."""
        ...


@dataclass(frozen=True, slots=True)
class StablePredictions:
    """Stop when models of successive rounds agree on records that nobody labels.

    Bloodgood and Vijay-Shanker, A Method for Stopping Active Learning Based on Stabilizing Predictions and the Need for
    User-Adjustable Stopping, CoNLL 2009: the mean of the last ``window`` Cohen's kappas reaches ``agreement``. A stop
    set of 2,000 records is plenty; rounds should be a batch apart, not a label.
    """

    agreement: float = 0.99
    window: int = 3

    name: ClassVar[str] = "stable predictions"

    def __post_init__(self) -> None:
        _check_share(self.agreement, "agreement")
        at_least(1, window=self.window)

    def advise(self, rounds: Sequence[Round]) -> Advice:
        """See StoppingCriterion. Rounds without predictions are passed over."""
        known = [one.predictions for one in rounds if one.predictions is not None and len(one.predictions)]
        known = known[-self.window - 1 :]
        if len(known) <= self.window or any(one.shape != known[0].shape for one in known):
            return Advice(False, f"too early to tell: it compares {self.window + 1} models on the same records")
        kappa = float(np.mean([cohens_kappa(*pair) for pair in pairwise(known)]))
        return _judged(
            kappa >= self.agreement,
            f"the last {self.window + 1} models agree on {len(known[-1]):,} records with a mean kappa of {kappa:.3f}",
            f"{self.agreement:g}",
            kappa,
        )


@dataclass(frozen=True, slots=True)
class Confident:
    """Stop when the model is sure of what is left.

    The overall uncertainty of Zhu, Wang and Hovy, Multi-Criteria-Based Strategy to Stop Active Learning for Data
    Annotation, COLING 2008: the mean confidence over the open records reaches ``confidence``, in each of the last
    ``window`` rounds. It believes the model, so it wants calibrated probabilities, and is no proof for a rare class.
    """

    confidence: float = 0.95
    window: int = 3

    name: ClassVar[str] = "confidence"

    def __post_init__(self) -> None:
        _check_share(self.confidence, "confidence")
        at_least(1, window=self.window)

    def advise(self, rounds: Sequence[Round]) -> Advice:
        """See StoppingCriterion. Rounds without a confidence are passed over."""
        known = [one.confidence for one in rounds if one.confidence is not None][-self.window :]
        if len(known) < self.window:
            return Advice(False, f"too early to tell: it looks at {self.window} rounds")
        least = min(known)
        says = f"over the last {self.window} rounds the model was at least {least:.1%} sure of the open records"
        return _judged(least >= self.confidence, says, f"{self.confidence:.1%}", least)


@dataclass(frozen=True, slots=True)
class SmallGain:
    """Stop when the next ``labels`` labels are expected to gain less than ``threshold`` accuracy on the audit slice.

    The accuracies follow ``a - b n^-c``, fitted by least squares weighted by the size of the audit slice, with c from
    0.1 to 2 (an inverse power law: Figueroa et al., Predicting Sample Size Required for Classification Performance, BMC
    Medical Informatics and Decision Making 2012). It takes ``points`` rounds, the last with at least twice the labels
    of the first; where accuracy has not grown at all, the expected gain is 0.
    """

    threshold: float = 0.005
    labels: int = 100
    points: int = 5

    name: ClassVar[str] = "small gain"

    def __post_init__(self) -> None:
        _check_share(self.threshold, "threshold")
        at_least(1, labels=self.labels)
        at_least(3, points=self.points)

    def advise(self, rounds: Sequence[Round]) -> Advice:
        """See StoppingCriterion. Rounds without labels or without an audit are passed over."""
        known = [one for one in rounds if one.audit is not None and one.audit_size and one.labels]
        if len(known) < self.points or known[-1].labels < 2 * known[0].labels:
            return Advice(
                False, f"too early to tell: the curve takes {self.points} audited rounds over twice as many labels"
            )
        curve = power_law(
            np.array([one.labels for one in known], dtype=np.float64),
            np.array([one.audit for one in known], dtype=np.float64),
            np.array([one.audit_size for one in known], dtype=np.float64),
        )
        last = known[-1].labels
        gain = max(0.0, curve(last + self.labels) - curve(last))
        says = f"{self.labels:,} more labels are expected to gain {gain:.2%} accuracy on the audit slice"
        return _judged(gain < self.threshold, says, f"{self.threshold:.2%}", gain, below=True)


@dataclass(frozen=True, slots=True)
class FewRemaining:
    """Stop when, even at the upper end of the interval of those left, ``recall`` of the positives are found.

    The recall target of technology-assisted review, certified by a random sample (Lewis, Yang and Frieder, Certifying
    One-Phase Technology-Assisted Reviews, CIKM 2021). ``nextlabel.backend.evaluation.remaining_positives``
    gives the interval; looking at it after every label makes its 95% somewhat less.
    """

    recall: float = 0.9

    name: ClassVar[str] = "few remaining"

    def __post_init__(self) -> None:
        _check_share(self.recall, "recall")

    def advise(self, rounds: Sequence[Round]) -> Advice:
        """See StoppingCriterion. Looks at the last round alone."""
        last = rounds[-1] if rounds else None
        if last is None or last.found is None or last.remaining_high is None or last.found == 0:
            return Advice(False, "too early to tell: no positive is found, or no audit slice is answered")
        share = last.found / (last.found + max(last.remaining_high, 0.0))
        says = f"{last.found:,} positives are found and at most {last.remaining_high:,.0f} left: {share:.1%} at least"
        return _judged(share >= self.recall, says, f"{self.recall:.1%}", share)


def cohens_kappa(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Agreement beyond chance (Cohen, 1960) of two models' int64 [s] classes, or bool [s, c], label by label.

    1 where both give one and the same answer to everything.
    """
    a, b = np.ravel(first).astype(np.int64), np.ravel(second).astype(np.int64)
    size = int(max(a.max(), b.max())) + 1
    chance = float((np.bincount(a, minlength=size) / len(a)) @ (np.bincount(b, minlength=size) / len(b)))
    same = float((a == b).mean())
    return 1.0 if chance >= 1 else (same - chance) / (1 - chance)


def power_law(
    labels: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> Callable[[float], float]:
    """The curve ``a - b n^-c`` (b not below 0) nearest to ``scores`` [r] at ``labels`` [r], weighted by ``weights``."""
    best = (np.inf, 0.0, 0.0, 0.0)
    for c in np.geomspace(0.1, 2.0, 40):
        x = -(labels**-c)
        mean_x, mean_y = np.average(x, weights=weights), np.average(scores, weights=weights)
        spread = np.average((x - mean_x) ** 2, weights=weights)
        b = max(0.0, float(np.average((x - mean_x) * (scores - mean_y), weights=weights) / spread)) if spread else 0.0
        a = float(mean_y - b * mean_x)
        loss = float(np.average((a + b * x - scores) ** 2, weights=weights))
        if loss < best[0]:
            best = (loss, a, b, float(c))
    _, a, b, c = best
    return lambda n: a - b * n**-c


def _judged(stop: bool, says: str, limit: str, figure: float, below: bool = False) -> Advice:
    if stop:
        return Advice(True, f"{says}, {'less than' if below else 'which reaches'} {limit}", figure)
    return Advice(False, f"{says}; it would stop {'below' if below else 'at'} {limit}", figure)


def _check_share(value: float, name: str) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie above 0 and not above 1")
