"""What came of each record: the consensus of its answers, how likely that is, and what the model says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.annotators.consensus import Method, crowdlab_quality, dawid_skene
from nextlabel.backend.annotators.opinions import Doubles, Indices, Opinions
from nextlabel.backend.models.crossfit import NOISE
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.pool.voices import hear
from nextlabel.backend.questions import Outputs, Question
from nextlabel.backend.retraining.model import Model
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.connectors.records import Suggestion, Value

from .agreement import Agreement
from .marks import fitted

CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Truth:
    """Of one record. ``answer``: the consensus, where it is another thing than the majority's answer, else None.

    ``likely``: the probability that what was agreed on is right; None where nothing tells. ``suggestion``: the model's;
    ``unseen``: whether it was made without the record's own answers.
    """

    answer: Value | None = None
    likely: float | None = None
    suggestion: Suggestion | None = None
    unseen: bool = True


def truths(
    store: Store, question: Question, model: Model | None, method: Method = "majority", *, everything: bool = False
) -> dict[str, Truth]:
    """uid -> what came of the record, of all that are labelled; of ``everything``, if asked for.

    Predictions on records that ``model`` has learned from are held out, by the folds that its head was fitted in; where
    it has none (spans, few answers), they are what it says of its own examples, and not ``unseen``. Without a model
    nothing is predicted, and several answers come to the majority, or what Dawid-Skene makes of them.
    What is not embedded has no prediction.
    """
    stored = list(store.records())
    pool = _pool(store, question, model, stored)
    if model is not None:
        Agreement(method).settle(pool, model.space)
    labelled = pool.answered()
    where = pool.embedded() if everything else np.intersect1d(labelled, pool.embedded())
    outputs, unseen = (None, np.zeros(0, np.bool_)) if model is None else _predicted(model, pool, where)
    likely = _likely(pool, labelled, _of(outputs, unseen, where, labelled) if question.scores else None, method)
    agreed = np.empty(0, np.int64) if pool.agreed is None else pool.agreed.positions
    agreed = agreed[~pool.is_settled(agreed)]
    values = dict(zip(agreed.tolist(), map(question.value_of, pool.targets(agreed)), strict=True))
    chances = dict(zip(labelled.tolist(), likely.tolist(), strict=True))
    said: dict[int, tuple[Suggestion, bool]] = {}
    if model is not None and outputs is not None:
        suggestions = question.suggestions(outputs, model.version)
        said = dict(zip(where.tolist(), zip(suggestions, unseen.tolist(), strict=True), strict=True))
    found = {}
    for item in stored:
        suggestion, blind = said.get(item.position, (None, True))
        chance = chances.get(item.position, float("nan"))
        found[item.record.uid] = Truth(
            values.get(item.position), None if np.isnan(chance) else chance, suggestion, blind
        )
    return found


def _pool(store: Store, question: Question, model: Model | None, stored: Sequence[StoredRecord]) -> PoolState:
    """All records with their answers. Without a model it is of no matter whether they are embedded."""
    pool = PoolState(question)
    for at in range(0, len(stored), CHUNK):
        part = stored[at : at + CHUNK]
        rows = np.array([item.position for item in part], np.int64)
        if model is not None:
            rows = model.space.cache.lookup([question.labeling.content(item.record) for item in part])
        pool.add(part, rows)
        hear(store, pool, part)
    touched, _ = fitted(store, question, store.touched(0))
    pool.answer(touched)
    return pool


def _predicted(model: Model, pool: PoolState, where: Positions) -> tuple[Outputs, npt.NDArray[np.bool_]]:
    """What the model says of the records at ``where``, and bool [k]: of which it had not learned the answers."""
    outputs = model.outputs(pool, where)
    training = np.intersect1d(pool.training(), where)
    unseen = ~np.isin(where, training)
    held_out = model.held_out(pool, training) if len(training) else None
    if held_out is not None:
        told = ~np.isnan(held_out).any(axis=1)
        places = np.searchsorted(where, training[told])
        outputs[places], unseen[places] = held_out[told], True
    return outputs, unseen


def _of(
    outputs: npt.NDArray[np.float32] | None, unseen: npt.NDArray[np.bool_], where: Positions, labelled: Positions
) -> Doubles | None:
    """float64 [m, c]: held-out predictions on the ``labelled``; None without any. Where there is none, the mean."""
    if outputs is None or not unseen.any():
        return None
    known = np.isin(labelled, where[unseen])
    found = np.tile(outputs[unseen].mean(axis=0, dtype=np.float64), (len(labelled), 1))
    found[known] = outputs[np.searchsorted(where, labelled[known])]
    return found


# -- how likely --------------------------------------------------------------------------------------------------------


def _likely(pool: PoolState, labelled: Positions, predicted: Doubles | None, method: Method) -> Doubles:
    """float64 [m]: how likely what was agreed on is right; 1 where it is settled, nan where nothing tells.

    As in Agreement, what is learned from stands for itself, and the others (the audit slice) with all of it.
    """
    found: Doubles = np.full(len(labelled), np.nan)
    if pool.question.votes and len(labelled):
        learned: npt.NDArray[np.bool_] = np.isin(labelled, pool.training())
        for group, members in ((learned, learned), (~learned, np.ones_like(learned))):
            if group.any():
                told = None if predicted is None else predicted[members]
                found[group] = _of_group(pool, labelled[members], told, method)[group[members]]
    found[pool.is_settled(labelled)] = 1.0
    return found


def _of_group(pool: PoolState, positions: Positions, predicted: Doubles | None, method: Method) -> Doubles:
    """float64 [k]: of several labels it is the product over all of them, each a yes or no of its own."""
    opinions, targets = pool.opinions(positions), pool.targets(positions)
    if not opinions.several:
        return _chances(opinions, targets, predicted, method)
    parts = []
    for at in range(len(opinions.labels)):
        both = None if predicted is None else np.stack([1 - predicted[:, at], predicted[:, at]], axis=1)
        parts.append(_chances(opinions.about(at), targets[:, at].astype(np.int64), both, method))
    return np.asarray(np.prod(parts, axis=0), np.float64)


def _chances(opinions: Opinions, labels: Indices, predicted: Doubles | None, method: Method) -> Doubles:
    """float64 [m]: of single ``labels`` int64 [m].

    By Dawid-Skene's model where that is the method, or there is no other; by CROWDLAB, from the answers of all and the
    model; and while nobody has a second answer by Bayes' rule, from the model and an answer that is wrong in 5 of 100
    cases.
    """
    rows, repeated = np.arange(len(labels)), bool((opinions.per_record > 1).any())
    if repeated and (method == "dawid-skene" or predicted is None):
        return np.asarray(dawid_skene(opinions).probabilities[rows, labels], np.float64)
    if predicted is None or len(opinions.labels) < 2:
        return np.full(len(labels), np.nan)
    if repeated:
        return crowdlab_quality(opinions, predicted, labels)
    flags = SOFTMAX.flags(labels, len(opinions.labels)).astype(np.float32)
    belief, _ = SOFTMAX.belief(predicted.astype(np.float32), flags, NOISE, np.zeros_like(flags, np.bool_))
    return np.asarray(belief[rows, labels], np.float64)
