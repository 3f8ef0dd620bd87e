"""Voices beside a head that marks stretches of texts: whoever marks best, alone or together.

Marks of two can't be multiplied as probabilities can, so one of three is chosen that has the best F1 on answers that
neither has seen: the head, the voices, or both, where the voices add what the head has not marked. That is the discrete
super learner of van der Laan, Polley & Hubbard (2007, "Super learner"): of several, take what cross-validation says is
best. Among the voices each counts by the share of its marks that people made as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.models.spans.decoding import ScoredSpan, SpanPrediction
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.numeric import as_objects
from nextlabel.connectors.records import Span

from .outputs import Matrix, Outputs, View
from .voices import ASSUMED, LEAST, Agreeing, Block, Proposal, Voices, Voicing, Weights, evenly

MOST_TEXTS = 200
"""Answers at most by which heads are tried, each time by fitting some anew."""
WORTHLESS = 0.25
"""Voices of which at most this share of the marks is right are not heard."""
BEFORE = 5.0
"""Marks that what is assumed of a voice counts for, before any answer."""


class SpanVoicing(Voicing):
    """Kept are the marks of each voice, tuples of ScoredSpan in the order of the text; () is that there are none."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    @override
    def voices(self, names: Sequence[str]) -> Voices:
        return Voices(names, np.object_, ())

    @override
    def formed(self, proposal: Proposal | None) -> tuple[ScoredSpan, ...] | None:
        """A text without a mark is one of which nothing is said: a rule that finds nothing knows of nothing."""
        marks = proposal.marks if proposal else ()
        return tuple(one for one in marks if one.label in self._labels) or None

    @override
    def joined(self, outputs: Outputs, block: Block, weights: Weights, names: Sequence[str]) -> Outputs:
        if not weights.speak:
            return outputs
        trust = weights.row(names)
        return as_objects([_together(one, said, trust, weights) for one, said in zip(outputs, block, strict=True)])

    @override
    def joined_view(self, view: View, block: Block, weights: Weights, names: Sequence[str]) -> View:
        """As long as the voices decide, the doubt is theirs: that a mark is wrong, or that there is none."""
        if not weights.speak or weights.head:
            return view
        trust = weights.row(names)
        found = [_together(_NOTHING, said, trust, weights) for said in block]
        half = np.array([(1 - one.confidence) / 2 for one in found], np.float32)
        probabilities: Matrix = np.stack([1 - half, half], axis=1).astype(np.float32)
        spans = [(at, self._labels.index(one.label), one.score) for at, text in enumerate(found) for one in text.spans]
        if view.spans is None or not spans:
            return view._replace(probabilities=probabilities)
        records, labels, scores = zip(*spans, strict=True)
        proposed = np.array(records, np.int64), np.array(labels, np.int64), np.array(scores, np.float32)
        return View(probabilities, proposed)

    @override
    def weighed(
        self,
        block: Block,
        targets: npt.NDArray[Any],
        names: Sequence[str],
        held_out: Matrix | None,
        crossed: Callable[[npt.NDArray[np.int64]], Outputs],
    ) -> Weights:
        trust = {name: _trust(one) for name, one in zip(names, self.agreeing(block, targets), strict=True)}
        alone = Weights(0.0, trust, len(targets))
        if len(targets) < LEAST:
            return alone
        rows = evenly(len(targets), MOST_TEXTS)
        block, answers = block[rows], targets[rows].tolist()
        head = crossed(rows)
        choices = [Weights(1.0, dict.fromkeys(names, 0.0), len(targets)), replace(alone, head=1.0), alone]
        f1 = [span_f1([text.spans for text in self.joined(head, block, one, names)], answers) for one in choices]
        best = int(np.argmax(f1))  # of equals the first
        return replace(choices[best], gain=f1[best] - f1[0])

    @override
    def agreeing(self, block: Block, targets: npt.NDArray[Any]) -> list[Agreeing]:
        found = []
        for voice in block.T if len(block) else [()] * block.shape[1]:
            marks = [{Span(one.start, one.end, one.label) for one in text or ()} for text in voice]
            right = sum(len(said & set(answer)) for said, answer in zip(marks, targets, strict=True))
            said = sum(one is not None for one in voice)
            found.append(Agreeing(len(targets), said, sum(map(len, marks)), right))
        return found


_NOTHING = SpanPrediction((), 1.0, 1.0)


def _trust(one: Agreeing) -> float:
    """The share of its marks that is right, shrunk towards what is assumed; 0 for a voice not worth hearing."""
    share = (one.right + BEFORE * ASSUMED) / (one.proposed + BEFORE)
    return share if share > WORTHLESS else 0.0


def _together(head: SpanPrediction, said: Block, trust: Matrix, weights: Weights) -> SpanPrediction:
    """The marks of one text: the head's if it counts, and of the voices' those that overlap none that is surer."""
    marked = [
        (float(weight) * span.score, span)
        for voice, weight in zip(said, trust, strict=True)
        if weight > 0
        for span in voice or ()
    ]
    kept = list(head.spans) if weights.head else []
    for _, span in sorted(marked, key=lambda one: (-one[0], one[1].start, one[1].end)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    spans = tuple(sorted(kept, key=lambda one: one.start))
    if weights.head:
        return replace(head, spans=spans)
    sure = float(np.prod([one.score for one in spans])) if spans else ASSUMED
    return SpanPrediction(spans, 1 - sure, sure)
