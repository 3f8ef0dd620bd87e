"""The fits that a report makes: the same probe on random and on chosen labels, and on a set that nobody labelled.

They read vectors of the recipe's own encoder. An encoder that was trained in the project has learned from the chosen
labels, so a probe on it has no random counterpart. Everything fitted here is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import Targets
from nextlabel.backend.encoders.base import Encoder, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.metrics import right
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.pool.pool import Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.selection.stopping import Round
from nextlabel.backend.store import Store

from .project_data import Gathered
from .random_reference import FOLDS, REPEATS, Curve, Saved, Vectors, compare, random_curve, random_size, sizes

LEAST_AUDIT = 50
"""Audit answers below which random's curve is too short and too wide to compare with."""
LEAST_CHOSEN = 20
"""Chosen labels below which there is nothing to compare."""
STEP = 25
"""Labels between the models whose predictions are compared."""
MODELS = 4
LEAST_STOP_SET = 100
"""Audit answers below which one changed prediction would weigh too much in the models' agreement."""
OPEN_SET = 2_000
LEAST_OPEN_SET = 50

Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Refitted:
    """``saved``: chosen against random labels. ``rounds``: what stopping criteria look at, in order."""

    saved: Saved
    rounds: tuple[Round, ...]


def why_not(found: Gathered) -> str:
    """Why no comparison with random can be made of these answers; empty if it can."""
    if question_of(found.labeling).reads_tokens:
        return "not made for spans"
    if len(found.audited) < LEAST_AUDIT:
        return (
            f"random labels are known from the audit slice alone, and {len(found.audited):,} of it are answered: "
            f"it takes {LEAST_AUDIT}"
        )
    if len(found.training) < LEAST_CHOSEN:
        return f"{len(found.training):,} labels to learn from are too few: it takes {LEAST_CHOSEN}"
    answers = found.pool.targets(found.audited)
    if (answers == answers[0]).all():
        return "all answers to the audit slice are the same, so every accuracy is that of saying so"
    return ""


def refit(
    found: Gathered, store: Store, encoder: Encoder, cache: EmbeddingCache, watch: Watch = lambda done, of: None
) -> Refitted:
    """Make the comparison; only where :func:`why_not` has no objection. ``watch`` is told the fits done and in all.

    Raises LearningError if texts can't be encoded. Texts whose vectors are not cached yet are encoded and cached.
    """
    anchors, classes = label_anchors(found.labeling, encoder), len(found.labeling.labels)
    done = 0

    def fit(vectors: Vectors, targets: Targets) -> Probe:
        return Probe.fit(vectors, targets, classes, anchors=anchors)

    def count() -> None:
        nonlocal done
        done += 1
        watch(done, total)

    def vectors_of(positions: Positions) -> Vectors:
        texts = [found.labeling.text(item.record) for item in store.at(positions.tolist())]
        return cache.take(cache.ensure(texts, encoder))

    tested, learned = vectors_of(found.audited), vectors_of(found.training)
    answers, targets = found.pool.targets(found.audited), found.pool.targets(found.training)
    most, both = len(targets), min(len(targets), random_size(len(answers)))
    of_random, of_chosen = sizes(random_size(len(answers)), both), sizes(most, both)
    steps = [most - STEP * back for back in range(MODELS - 1, -1, -1) if most > STEP * back]
    total = len(of_random) * FOLDS * REPEATS + len({*of_chosen, *steps})
    random = random_curve(tested, answers, of_random, fit, count)
    aside = _open_set(found, store, cache)
    rows, rounds = [], []
    for size in sorted({*of_chosen, *steps}):
        probe = fit(learned[:size], targets[:size])
        hits = right(probe.predict_proba(tested), answers)
        if size in of_chosen:
            rows.append(hits)
        if size:
            rounds.append(_round(size, probe, tested, hits, aside) if size in steps else _audited(size, hits))
        count()
    chosen = Curve(np.array(of_chosen, np.int64), np.array(rows, np.float64))
    return Refitted(compare(random, chosen), tuple(rounds))


def _audited(size: int, hits: npt.NDArray[np.bool_]) -> Round:
    return Round(size, audit=float(hits.mean()), audit_size=len(hits))


def _round(size: int, probe: Probe, tested: Vectors, hits: npt.NDArray[np.bool_], aside: Vectors) -> Round:
    """With predictions for the audit slice, and how sure the probe is of open records.

    Records that are still open can't show whether predictions are stable: what a model doubted was chosen since.
    """
    stable = probe.predict_proba(tested) if len(tested) >= LEAST_STOP_SET else None
    said = None if stable is None else probe.activation.decide(stable)
    sure = probe.predict_proba(aside)
    confidence = probe.activation.sureness(sure).mean() if len(sure) else None
    return replace(_audited(size, hits), predictions=said, confidence=None if confidence is None else float(confidence))


def _open_set(found: Gathered, store: Store, cache: EmbeddingCache) -> Vectors:
    """Vectors of random records without an answer, as far as they are cached; none if there are too few."""
    rng, answered = np.random.default_rng(0), {*found.training.tolist(), *found.audited.tolist()}
    drawn = rng.permutation(store.size())[: 2 * OPEN_SET].tolist()
    items = [one for one in store.at(drawn) if one.position not in answered and not one.gone and not one.duplicate_of]
    rows = cache.lookup([found.labeling.text(one.record) for one in items])
    rows = rows[rows >= 0][:OPEN_SET]
    return cache.take(rows if len(rows) >= LEAST_OPEN_SET else rows[:0])
