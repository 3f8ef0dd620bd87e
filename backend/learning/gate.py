"""Which of the newly trained models is best, and whether it goes live.

Among the candidates a later one has to get more held-out answers right than the best before it, by more than one
standard error of the difference (as Breiman et al., 1984, choose among trees). Where labels are few, contrast mostly
makes better models than fine-tuning does, and a dozen answers, some of them wrong, often say otherwise: on 85 to 425
texts of politeness and edos the one that got more right was the worse one in 14 to 35 of 100 draws of the held-out
texts.

Two questions, both answered on records that the new model was not trained on. On the held-out answers, which also
chose among the candidates: does it get at least as many right as the model in use, fitted without them? On the audit
slice, which chose nothing: is it shown to be worse? The second is a paired test, McNemar's (1947), one-sided at 10%:
a level that turns away a model that is truly worse sooner than the usual 5%, since keeping the old one costs little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.evaluation.comparison import mcnemar

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
        gained, lost = (hits[number] & ~hits[best]).sum(), (hits[best] & ~hits[number]).sum()
        if gained - lost > np.sqrt(gained + lost):  # of so many changes, if each was as likely a gain as a loss
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
        fits = int(new.sum()) >= int(old.sum())
        sentences.append(f"{new.sum()} of {n} held-out answers right, {old.sum()} before")
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
