"""Trainings for spans: whole texts are right or wrong, as the audit counts them, and F1 of single spans beside that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.data.span_examples import SpanExamples, fault_of, longest_apart
from nextlabel.backend.evaluation.comparison import Pair, judge
from nextlabel.backend.models.card import Figure, ModelCard, hash_of
from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.backend.models.spans.metrics import all_right, span_f1, span_report
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.pool.pool import Positions
from nextlabel.backend.training.jobs import SPANS_FILE, TrainingJob, read_found
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.records import Span

from .answers import Labelled
from .candidates import Answered, Choice, Training, TrainingSetup, accuracies, among, card_of
from .plan import Candidate, TrainingPlan
from .span_model import cache_of

LEAST_TEXTS = 5
"""Texts that must bear one and the same label before an encoder is trained on them."""

Found: TypeAlias = Sequence[Sequence[ScoredSpan]]
Answers: TypeAlias = Sequence[Sequence[Span]]


class SpanTraining(Training):
    """Trainings for spans in texts."""

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup = setup

    @override
    def too_few(self, labelled: Labelled) -> str:
        texts = Counter(label for spans in labelled.targets for label in {span.label for span in spans})
        if max(texts.values(), default=0) >= LEAST_TEXTS:
            return ""
        return f"{LEAST_TEXTS} texts with a span of one label are needed before anything can be trained"

    @override
    def job(
        self, candidate: Candidate, train: Answered, held_out: Answered, predict: Sequence[Readable]
    ) -> TrainingJob:
        setup = self._setup
        return TrainingJob(
            kind="spans",
            encoder=setup.of(candidate.start),
            examples=self._examples(train),
            spec=setup.spec,
            held_out=self._examples(held_out),
            predict=predict,
        )

    def _examples(self, answered: Answered) -> SpanExamples:
        """Spans that make no sense in their text are left out: the platform took them, but nobody can learn them."""
        labels = self._setup.labeling.labels
        spans = tuple(
            tuple(span for span in spans if not fault_of(span, text_of(text), labels))
            for text, spans in zip(answered.texts, answered.targets, strict=True)
        )
        return SpanExamples(tuple(answered.texts), spans, labels)

    def choose(self, plan: TrainingPlan, finished: Mapping[int, Path], labelled: Labelled) -> Choice:
        """See Training. Among candidates with as many texts right, the one with the higher span F1."""
        kept, held_out = among(plan.held_out, labelled.training)
        audit_kept, audit = among(plan.audit, labelled.audited)
        answers, audit_answers = labelled.targets[held_out].tolist(), labelled.audit_targets[audit].tolist()
        n, said = len(plan.held_out), {number: read_found(folder / SPANS_FILE) for number, folder in finished.items()}
        mine = {number: _take(found[:n], kept) for number, found in said.items()}
        marks = {number: (all_right(one, answers).sum(), span_f1(one, answers)) for number, one in mine.items()}
        best = max(finished, key=lambda number: (*marks[number], -number))
        after = {"held_out": mine[best], "audit": _take(said[best][n:], audit_kept)}
        before = _before(labelled, held_out, audit, self._setup.labeling.labels)
        truth = {"held_out": answers, "audit": audit_answers}
        pairs = {
            name: Pair(all_right(before[name], answered), all_right(after[name], answered))
            for name, answered in truth.items()
        }
        verdict = judge(pairs["held_out"], pairs["audit"])
        f1 = {f"{name}_span_f1": span_f1(after[name], truth[name]) for name in truth if len(truth[name])}
        f1 |= {f"{name}_span_f1_before": span_f1(before[name], truth[name]) for name in truth if len(truth[name])}
        verdict = replace(verdict, figures=verdict.figures | f1)
        return Choice(best, verdict, (*accuracies(verdict), *_f1_figures(after, truth)))

    @override
    def card(self, folder: Path, candidate: Candidate, choice: Choice) -> ModelCard:
        examples = TrainingJob.load(folder).examples
        spans = [sorted([span.start, span.end, span.label] for span in row) for row in examples.spans]
        counts = Counter(label for row in examples.spans for label in {span.label for span in row})
        return replace(
            card_of(folder, candidate, self._setup, choice),
            data_hash=hash_of(examples.texts, spans),
            counts={label: counts[label] for label in examples.labels},
        )


def _take(found: Found, kept: npt.NDArray[np.bool_]) -> Found:
    return [found[row] for row in np.flatnonzero(kept).tolist()]


def _before(labelled: Labelled, held_out: Positions, audit: Positions, labels: tuple[str, ...]) -> dict[str, Found]:
    """What the model in use finds, had it learned from the same answers as the candidates."""
    cache = cache_of(labelled.space)
    rest = np.setdiff1d(np.arange(len(labelled.training)), held_out)
    spans = [longest_apart(value) for value in labelled.targets[rest]]
    probe = SpanProbe.fit(cache.tokens(labelled.rows[rest]).texts(), spans, labels)
    rows = {"held_out": labelled.rows[held_out], "audit": labelled.audit_rows[audit]}
    return {name: [one.spans for one in probe.predict(cache.tokens(at).texts())] for name, at in rows.items()}


def _f1_figures(after: Mapping[str, Found], truth: Mapping[str, Answers]) -> list[Figure]:
    """Span F1 with its bootstrap interval on whatever it was measured on."""
    found = []
    for where, name in (("held-out", "held_out"), ("audit", "audit")):
        if any(map(len, (*after[name], *truth[name]))):
            report = span_report(after[name], truth[name])
            found.append(Figure("span F1", report.micro.f1, report.low, report.high, report.texts, where))
    return found
