"""Which of the newly trained models is best, and whether it goes live.

Among the candidates a later one has to get more held-out answers right than the best before it, by more than one
standard error of the difference (as Breiman et al., 1984, choose among trees). Where labels are few, contrast mostly
makes better models than fine-tuning does, and a dozen answers, some of them wrong, often say otherwise: on 85 to 425
texts of politeness and edos the one that got more right was the worse one in 14 to 35 of 100 draws of the held-out
texts.

Two questions, both answered on records that the new model was not trained on. On the held-out answers, which also
chose among the candidates: does the model in use, fitted without them, get more right by more than one standard error?
What learned from more answers is usually the better one, and a new model with one held-out answer less is mostly
unlucky: on the same texts, letting it through made better use of nine trainings than asking for as many. On the audit
slice, which chose nothing: is it shown to be worse? This is a paired test, McNemar's (1947), one-sided at 10%: a level
that turns away a model that is truly worse sooner than the usual 5%, since keeping the old one costs little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .comparison import mcnemar

LEVEL = 0.1


@dataclass(frozen=True, slots=True)
class Pair:
    """Which of the same answers both models get right, bool [n]: the model in use, and the new one."""

    before: npt.NDArray[np.bool_]
    after: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``goes_live``, and why, as a sentence. ``figures`` are kept with the model."""

    goes_live: bool
    reason: str
    figures: dict[str, float]


def best_candidate(hits: Mapping[int, npt.NDArray[np.bool_]]) -> int:
    """The number of the best candidate: of ``hits``, number -> which of the same answers it gets right, bool [n].

    In doubt the one with the lowest number. Raises ValueError without candidates.
    """
    if not hits:
        raise ValueError("there is no candidate to choose")
    first, *others = sorted(hits)
    best = first
    for number in others:
        if _beats(hits[number], hits[best]):
            best = number
    return best


def judge(held_out: Pair, audit: Pair) -> Verdict:
    """Decide on a new model. Either pair may be empty; with nothing to measure on, the old model stays."""
    figures: dict[str, float] = {}
    sentences = []
    fits = True
    if n := len(held_out.after):
        old, new = held_out.before, held_out.after
        figures |= {"held_out_n": n, "held_out_accuracy": float(new.mean()), "held_out_before": float(old.mean())}
        fits = not _beats(old, new)
        chance = " (within one standard error)" if fits and new.sum() < old.sum() else ""
        sentences.append(f"{new.sum()} of {n} held-out answers right, {old.sum()} before{chance}")
    if n := len(audit.after):
        old, new = audit.before, audit.after
        test = mcnemar(old, new)
        figures |= {"audit_n": n, "audit_accuracy": float(new.mean()), "audit_before": float(old.mean())}
        figures["audit_p_worse"] = test.p_worse
        fits = fits and test.p_worse > LEVEL
        sentences.append(
            f"{new.sum()} of {n} audit answers right, {old.sum()} before (McNemar, one-sided: p {test.p_worse:.2g})"
        )
    if not sentences:
        return Verdict(False, "there is no held-out answer and no audit answer to measure it on", figures)
    return Verdict(fits, "; ".join(sentences), figures)


def _beats(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> bool:
    """Whether ``one`` gets more of the same answers right than ``other``, by more than one standard error.

    That is the root of the number of answers that only one of them gets right, if either is as likely to.
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return gained - lost > math.sqrt(gained + lost)
