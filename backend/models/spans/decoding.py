"""From probabilities of tags to spans: the likeliest tags that keep the rules, how sure each span is, and the text.

The tags of a text are taken as a chain in which every unit is independent but for the rules (no ``I-x`` after ``O``,
and so on): the distribution of all lawful sequences. Viterbi finds the likeliest. The forward-backward algorithm gives
the probability of any span exactly, as in Culotta & McCallum (2004), "Confidence estimation for information
extraction", and the probability of the whole sequence, of which the uncertainty is made (their 2005 paper, "Reducing
labeling effort for structured prediction tasks").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .tagging import IntArray, TagSet

Matrix = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

BATCH = 256  # texts of like length, decoded together
CELLS = 1_000_000  # of [t, b, k], scored together where only the doubt is asked for


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A span that a model proposes: character offsets, end exclusive, and its probability."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class SpanPrediction:
    """What a model says of one text: spans in the order of their start, none overlapping.

    ``uncertainty`` in [0, 1] is 1 minus the probability of all its tags together, taken to the power of one over
    their number (so that long texts are not chosen for being long). 0 for a text without a token. ``confidence``:
    the probability that these are the right spans, and all of them.
    """

    spans: tuple[ScoredSpan, ...]
    uncertainty: float
    confidence: float = 1.0


def log_softmax(logits: npt.NDArray[np.floating]) -> Doubles:
    """Logits [u, k] to the logarithms of probabilities; a row that is not finite becomes that of knowing nothing."""
    values = np.asarray(logits, np.float64)
    values = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, 0.0)
    values = values - values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def decode(
    logits: Sequence[npt.NDArray[np.floating]], bounds: Sequence[IntArray], tags: TagSet
) -> list[SpanPrediction]:
    """The spans of every text, from ``logits`` [u, k] of its units and their ``bounds`` [u, 2]."""
    out: list[SpanPrediction] = [SpanPrediction((), 0.0)] * len(logits)
    order = sorted((row for row in range(len(logits)) if len(logits[row])), key=lambda row: len(logits[row]))
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        for row, prediction in zip(rows, _decode_batch([logits[row] for row in rows], bounds, rows, tags), strict=True):
            out[row] = prediction
    return out


def _decode_batch(
    logits: list[npt.NDArray[np.floating]], bounds: Sequence[IntArray], rows: list[int], tags: TagSet
) -> list[SpanPrediction]:
    lengths = np.array([len(rows_of) for rows_of in logits])
    scores = np.zeros((lengths.max(), len(logits), len(tags)))  # [t, b, k]
    for column, one in enumerate(logits):
        scores[: len(one), column] = log_softmax(one)
    paths, best = _viterbi(scores, lengths, tags)
    forward, backward, total = _forward_backward(scores, lengths, tags)
    out = []
    for column, row in enumerate(rows):
        count = lengths[column]
        path = paths[:count, column]
        own, ahead, behind = scores[:count, column], forward[:count, column], backward[:count, column]
        spans = []
        for start, end, label in tags.stretches(path):
            inside = own[np.arange(start + 1, end), path[start + 1 : end]].sum()
            after = _ends(own, behind, end, int(path[end - 1]), label, tags)
            score = float(np.exp(min(0.0, ahead[start, path[start]] + inside + after - total[column])))
            spans.append(ScoredSpan(int(bounds[row][start, 0]), int(bounds[row][end - 1, 1]), label, score))
        likely = min(0.0, float(best[column] - total[column]))
        out.append(SpanPrediction(tuple(spans), 1.0 - math.exp(likely / count), math.exp(likely)))
    return out


def doubts(logits: npt.NDArray[np.floating], starts: IntArray, tags: TagSet) -> npt.NDArray[np.float32]:
    """1 minus the confidence of many texts, float32 [n], as ``decode`` has it but without its spans, and faster.

    ``logits`` [u, k] of the units of all texts, those of text i in the rows ``starts[i]`` to ``starts[i + 1]``.
    """
    scores, counts = log_softmax(logits), np.diff(starts)
    out = np.zeros(len(counts), np.float32)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    while len(order):
        longest = int(counts[order[-1]])
        size = max(1, CELLS // (longest * len(tags)))
        order, rows = order[:-size], order[-size:]
        places = starts[rows] + np.minimum(np.arange(longest)[:, None], counts[rows] - 1)
        # [t, b, k]; beyond a text's end stands its last unit, which nobody looks at
        best, everything = _best_and_all(scores[places], counts[rows], tags)
        out[rows] = -np.expm1(np.minimum(best - everything, 0.0))
    return out


def _best_and_all(scores: Doubles, lengths: IntArray, tags: TagSet) -> tuple[Doubles, Doubles]:
    """Log probability [b] of the likeliest lawful tags, and of all lawful tags together."""
    follows = tags.follows.astype(np.float64)
    forbidden = np.where(tags.follows, 0.0, -np.inf)
    best = mass = scores[0] + np.where(tags.first, 0.0, -np.inf)
    ends, masses = best.copy(), mass.copy()
    for step in range(1, len(scores)):
        best = (best[:, :, None] + forbidden).max(axis=1) + scores[step]
        mass = _spread(mass, follows) + scores[step]
        done = lengths == step + 1
        ends[done], masses[done] = best[done], mass[done]
    last = np.where(tags.last, 0.0, -np.inf)
    return (ends + last).max(axis=1), np.logaddexp.reduce(masses + last, axis=1)


def _ends(own: Doubles, behind: Doubles, end: int, tag: int, label: str, tags: TagSet) -> float:
    """Log mass of all that may follow a span that ends before unit ``end``, itself not going on."""
    if end == len(own):
        return 0.0
    goes_on = np.array([letter in "IL" and other == label for letter, other in tags.parts])
    open_to = tags.follows[tag] & ~goes_on
    values = (own[end] + behind[end])[open_to]
    return float(np.logaddexp.reduce(values))


def _viterbi(scores: Doubles, lengths: IntArray, tags: TagSet) -> tuple[IntArray, Doubles]:
    """The likeliest lawful tags int64 [t, b] and their log probability [b] (not yet divided by all lawful mass)."""
    steps, texts, _ = scores.shape
    forbidden = np.where(tags.follows, 0.0, -np.inf)
    back = np.zeros(scores.shape, np.int64)
    reach = scores[0] + np.where(tags.first, 0.0, -np.inf)
    ends = np.empty_like(reach)
    for step in range(steps):
        if step:
            through = reach[:, :, None] + forbidden  # [b, from, to]
            back[step] = through.argmax(axis=1)
            reach = through.max(axis=1) + scores[step]
        done = lengths == step + 1
        ends[done] = reach[done]
    ends = ends + np.where(tags.last, 0.0, -np.inf)
    paths = np.zeros((steps, texts), np.int64)
    at = ends.argmax(axis=1)
    everyone = np.arange(texts)
    for step in range(steps - 1, -1, -1):
        paths[step] = at
        at = np.where((step > 0) & (step < lengths), back[step, everyone, at], at)
    return paths, ends.max(axis=1)


def _forward_backward(scores: Doubles, lengths: IntArray, tags: TagSet) -> tuple[Doubles, Doubles, Doubles]:
    """Log mass up to each tag (its own score in it), after each tag (its own not in it), and of everything [b]."""
    steps = len(scores)
    follows = tags.follows.astype(np.float64)
    forward, backward = np.empty_like(scores), np.empty_like(scores)
    forward[0] = scores[0] + np.where(tags.first, 0.0, -np.inf)
    for step in range(1, steps):
        forward[step] = _spread(forward[step - 1], follows) + scores[step]
    last = np.where(tags.last, 0.0, -np.inf)
    backward[steps - 1] = last
    for step in range(steps - 2, -1, -1):
        onward = _spread(scores[step + 1] + backward[step + 1], follows.T)
        backward[step] = np.where((lengths <= step + 1)[:, None], last, onward)
    ends = forward[lengths - 1, np.arange(len(lengths))] + last
    return forward, backward, np.logaddexp.reduce(ends, axis=1)


def _spread(mass: Doubles, follows: Doubles) -> Doubles:
    """Log of ``exp(mass)`` [b, k] times ``follows`` [k, k]."""
    top = mass.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(mass - top) @ follows) + top)
