"""Voices beside a head that says how likely each label is: a product of experts, weighted by stacking.

The logits of the head and those of each voice are added, each times a weight: a weighted product of experts (Hinton,
2002, "Training products of experts by minimizing contrastive divergence"; the logarithmic opinion pool of Genest &
Zidek, 1986). A voice that names a label without a probability is a constant log-odds for it, so its weight is the
log-odds of its accuracy in the naive Bayes of Dawid & Skene (1979). The weights are those of stacked generalization
(Wolpert, 1992): fitted, none below 0 (Breiman, 1996, "Stacked regressions"), on answers that neither has seen. The
head's are predicted out-of-fold; a voice has learned from none. There is one weight per voice and one for the head,
however many labels, so twenty answers are enough. That is tried in its turn: where weights that were fitted without a
fold tell its answers no better than the head alone does, the voices are silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import Activation

from .outputs import Matrix, Outputs, View
from .voices import FOLDS, LEAST, Agreeing, Block, Proposal, Voices, Voicing, Weights, evenly

Doubles = npt.NDArray[np.float64]
FLOOR = 1e-3
"""No probability counts for less: one slip of an annotator must not decide about a voice."""
COLD_HEAD = 0.5
"""What a head counts for that has too few answers to be tried: it knows little more than the labels' words."""
SPREAD = 1.0
"""Standard deviation of what a weight is before any answer: around 1, or for voices beside a head that is tried, 0."""
SILENT = 0.05
"""A weight below this is none."""


class Stacking(Voicing):
    """Voices beside probabilities of labels. They are kept as logits float16 [c], 0 for what is not said."""

    def __init__(self, labels: Sequence[str], activation: Activation) -> None:
        self._index = {label: number for number, label in enumerate(labels)}
        self._activation = activation

    @override
    def voices(self, names: Sequence[str]) -> Voices:
        return Voices(names, np.float16, (len(self._index),))

    @override
    def formed(self, proposal: Proposal | None) -> Matrix | None:
        """A record has a label that is marked in its text, as surely as the surest of its marks."""
        if not proposal:
            return None
        found = dict(proposal.probabilities)
        for mark in proposal.marks:
            found[mark.label] = max(found.get(mark.label, 0.0), mark.score)
        given = {self._index[label]: p for label, p in found.items() if label in self._index and p > 0}
        return self._activation.leaning(given, len(self._index), FLOOR) if given else None

    @override
    def joined(self, outputs: Outputs, block: Block, weights: Weights, names: Sequence[str]) -> Matrix:
        return joined(outputs, block, weights, names, self._activation)

    @override
    def joined_view(self, view: View, block: Block, weights: Weights, names: Sequence[str]) -> View:
        return view._replace(probabilities=self.joined(view.probabilities, block, weights, names))

    @override
    def weighed(
        self,
        block: Block,
        targets: npt.NDArray[Any],
        names: Sequence[str],
        held_out: Matrix | None,
        crossed: Callable[[npt.NDArray[np.int64]], Outputs],
    ) -> Weights:
        if not len(targets):
            return Weights(COLD_HEAD, dict.fromkeys(names, 1.0))
        flags = self._activation.flags(targets, len(self._index))
        return weighed(block, flags, held_out, names, self._activation)

    @override
    def agreeing(self, block: Block, targets: npt.NDArray[Any]) -> list[Agreeing]:
        flags = self._activation.flags(targets, len(self._index))
        found = []
        for voice in np.moveaxis(block.astype(np.float32), 1, 0):
            said = voice.any(axis=1)
            claims = self._activation.decided(self._activation.probabilities(voice[said]))
            found.append(Agreeing(len(flags), int(said.sum()), int(claims.sum()), int((claims & flags[said]).sum())))
        return found


def joined(outputs: Matrix, block: Matrix, weights: Weights, names: Sequence[str], activation: Activation) -> Matrix:
    """Probabilities float32 [n, c] by head and voices; rows of ``outputs`` of which no voice says anything stay.

    ``block`` float [n, s, c]: the logits of each voice, 0 where it says nothing.
    """
    some = np.flatnonzero(block.any(axis=(1, 2))) if weights.speak else np.empty(0, np.int64)
    if not len(some):
        return outputs
    said = np.einsum("nsc,s->nc", block[some].astype(np.float32), weights.row(names))
    heard = said.any(axis=1)
    some, said = some[heard], said[heard]
    found = outputs.copy()
    logits = np.float32(weights.head) * _logits(outputs[some], activation) + said
    found[some] = activation.probabilities(np.asarray(logits, np.float32))
    return found


def weighed(
    block: Matrix,
    flags: npt.NDArray[np.bool_],
    held_out: Matrix | None,
    names: Sequence[str],
    activation: Activation,
) -> Weights:
    """The weights by answers ``flags`` bool [m, c] to records of which the voices say ``block`` [m, s, c].

    ``held_out`` [m, c]: what the head says that has not seen them; rows of nan, or None, where it can't tell.
    """
    told = np.ones(len(flags), np.bool_) if held_out is None else ~np.isnan(held_out).any(axis=1)
    blind = held_out is None or int(told.sum()) < LEAST
    heard = block.any(axis=(1, 2)) & (told | blind)
    rows = np.flatnonzero(heard)
    if not len(rows):
        return Weights(COLD_HEAD if blind else 1.0, dict.fromkeys(names, 1.0 if blind else 0.0), len(flags))
    rows = rows[evenly(len(rows))]
    x, y = block[rows].astype(np.float64), flags[rows].astype(np.float64)
    if blind or held_out is None:
        found = _fitted(x, y, activation, np.ones(x.shape[1]))
        return Weights(COLD_HEAD, _named(names, found), len(flags))
    head = _logits(held_out[rows], activation).astype(np.float64)
    gain = _gain(head, x, y, activation)
    if gain <= 0:
        return Weights(1.0, dict.fromkeys(names, 0.0), len(flags), gain)
    found = _fitted(np.concatenate([head[:, None], x], axis=1), y, activation, _beside(x.shape[1]))
    return Weights(float(found[0]), _named(names, found[1:]), len(flags), gain)


def _beside(voices: int) -> Doubles:
    """What weights are taken to be: the head's 1, and those of so many voices 0, as long as nothing speaks for them."""
    return np.concatenate([np.ones(1), np.zeros(voices)])


def _fitted(x: Doubles, y: Doubles, activation: Activation, centre: Doubles) -> Doubles:
    """Weights [s], none below 0, of the experts ``x`` [m, s, c] with the least log loss on ``y`` [m, c].

    ``centre`` [s]: what they are taken to be beforehand.
    """
    from scipy.optimize import minimize

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        losses, residual = activation.loss(np.einsum("msc,s->mc", x, weights), y)
        away = (weights - centre) / SPREAD**2
        gradient = np.einsum("msc,mc->s", x, residual) + away
        return float(losses.sum() + 0.5 * (away * (weights - centre)).sum()), np.asarray(gradient, np.float64)

    bounds = [(0, None)] * len(centre)
    return np.asarray(minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x)


def _gain(head: Doubles, x: Doubles, y: Doubles, activation: Activation) -> float:
    """Log loss per answer that voices save over the head alone, on average, by weights fitted without its fold."""
    both = np.concatenate([head[:, None], x], axis=1)
    fold_of = np.arange(len(y)) % FOLDS
    saved = 0.0
    for fold in range(FOLDS):
        test = fold_of == fold
        if test.any() and not test.all():
            saved += _loss(both[:, :1], y, test, activation) - _loss(both, y, test, activation)
    return saved / len(y)


def _loss(x: Doubles, y: Doubles, test: npt.NDArray[np.bool_], activation: Activation) -> float:
    """Log loss on ``test`` of experts whose weights were fitted on the others."""
    weights = _fitted(x[~test], y[~test], activation, _beside(x.shape[1] - 1))
    return float(activation.loss(np.einsum("msc,s->mc", x[test], weights), y[test])[0].sum())


def _named(names: Sequence[str], found: Doubles) -> dict[str, float]:
    return {name: float(weight) if weight > SILENT else 0.0 for name, weight in zip(names, found, strict=True)}


def _logits(probabilities: Matrix, activation: Activation) -> Matrix:
    return activation.logits(np.clip(probabilities, FLOOR, 1 - FLOOR))
