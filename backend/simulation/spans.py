"""Replays on texts of which parts are marked: a label is a text with all its marks, the score is span F1.

What learns is the loop's probe on token vectors, and strategies see what they see in the loop: the doubt about each
text's spans, the text's vector, and the single spans that are proposed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.data.examples import together
from nextlabel.backend.data.marked import MarkedRows, labels_in, read_marked
from nextlabel.backend.data.span_examples import SpanExamples, longest_apart
from nextlabel.backend.encoders.base import HASHING
from nextlabel.backend.encoders.cache import Progress
from nextlabel.backend.encoders.load import remarks_on_cut
from nextlabel.backend.models.spans.encoder import TokenCache, TokenStack, load_span_encoder
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.questions.span import SpanHead
from nextlabel.backend.selection import Pool, QueryStrategy, Spans, relabels, weighs_spans
from nextlabel.connectors.content import text_of
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Span

from .arms import RANDOM, Arm
from .asking import Rows
from .data import Material, tested_rows
from .plan import Plan
from .replay import Deal, Project, Retrain, deal, stay
from .request import Request, Simulation, remarks_on_chance
from .retraining import Step
from .runs import Finished, run
from .statistics import summarise

DEFAULT = ("margin-diverse", "margin", "least-sure-span", "representative", RANDOM)
"""What is compared unless somebody says otherwise."""
CHUNK = 1024  # texts whose token vectors are in memory together


@dataclass(frozen=True)
class MarkedMaterial(Material):
    """Texts with their marks. ``vectors`` are of whole texts, ``truth`` and ``answers`` say which labels each bears.

    ``bounds`` int64 [u, 2] and ``units`` float16 [u, d]: the units of all texts, those of text i from ``starts[i]`` to
    ``starts[i + 1]``, int64 [n + 1]. ``marks`` int64 [m, 4]: text, start, end and label of every span, texts ascending.
    """

    bounds: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    units: npt.NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), np.float16))
    starts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    marks: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 4), np.int64))

    @classmethod
    def of(
        cls, stack: TokenStack, examples: SpanExamples, tested: npt.NDArray[np.bool_] | None = None
    ) -> MarkedMaterial:
        """``examples`` with the token vectors of their texts."""
        number = {label: at for at, label in enumerate(examples.labels)}
        marks = [
            (row, span.start, span.end, number[span.label])
            for row, spans in enumerate(examples.spans)
            for span in spans
        ]
        bears, width = examples.bears, stack.vectors.shape[1]
        return cls(
            vectors=stack.means().astype(np.float16),
            anchors=np.zeros((len(examples.labels), width), np.float32),
            truth=bears,
            answers=bears[:, None],
            groups=together(examples.texts, examples.groups),
            tested=tested,
            bounds=stack.bounds,
            units=stack.vectors,
            starts=stack.starts,
            marks=np.array(marks, np.int64).reshape(-1, 4),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Stand-ins for the labels' names, which no model sees."""
        return tuple(str(number) for number in range(self.classes))

    def stack(self, rows: Rows) -> TokenStack:
        """The units of the texts in ``rows`` int64 [k]."""
        firsts, sizes = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        at = np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], sizes)
        return TokenStack(np.asarray(self.bounds[at]), np.asarray(self.units[at]), starts)

    def stacks(self, rows: Rows) -> Iterator[tuple[int, TokenStack]]:
        """The same some texts at a time, with which of ``rows`` is the first."""
        for at in range(0, len(rows), CHUNK):
            yield at, self.stack(rows[at : at + CHUNK])

    def spans(self, rows: Rows) -> list[tuple[Span, ...]]:
        """What is marked in the texts in ``rows``."""
        low, high = (np.searchsorted(self.marks[:, 0], rows, side) for side in ("left", "right"))
        names = self.labels
        return [
            tuple(Span(start, end, names[label]) for _, start, end, label in self.marks[first:last].tolist())
            for first, last in zip(low, high, strict=True)
        ]


class SpanProject(Project):
    """A project in which parts of texts are marked; see Project."""

    def __init__(self, material: Material, plan: Plan, arm: Arm, dealt: Deal, retrain: Retrain = stay) -> None:
        super().__init__(material, plan, arm, dealt, retrain)
        if not isinstance(material, MarkedMaterial):
            raise ConfigError("a project of spans is replayed on texts with marks")
        self._texts, self._head = material, SpanHead(SpanProbe.fit([], [], material.labels))

    @override
    def learn(self, labels: int) -> float:
        """Fit on all texts marked so far, of marks that overlap on the longer, and return the span F1 on the others."""
        texts, rows, test = self._texts, self.asking.answered, self._dealt.test
        learned, spans = texts.stack(rows).texts(), [longest_apart(marked) for marked in texts.spans(rows)]
        self._head = SpanHead(SpanProbe.fit(learned, spans, texts.labels, warm=self._head.probe))
        found = [one.spans for _, stack in texts.stacks(test) for one in self._head.probe.predict(stack.texts())]
        return span_f1(found, texts.spans(test))

    @override
    def view(self, rows: Rows, predicted: npt.NDArray[np.float32] | None = None) -> Pool:
        """``rows`` as a strategy sees them in the loop."""
        wanted = self._chooser is not None and weighs_spans(self._chooser)
        seen = self._head.seen(self._texts.stacks(rows), len(rows), spans=wanted)
        return Pool(
            probabilities=seen.probabilities,
            vectors=self.mapped(rows),
            labelled_vectors=np.asarray(self._texts.vectors[self.asking.answered], np.float32),
            spans=None if seen.spans is None else Spans(*seen.spans),
        )


def check_strategies(names: Sequence[str]) -> None:
    """Raise ConfigError for a strategy that means nothing for spans, of which there is one answer per text."""
    for name in names:
        arm = Arm.parse(name)
        chooser: QueryStrategy = arm.chooser()
        if relabels(chooser) or arm.name != arm.strategy:
            raise ConfigError(
                f"{name} weighs several answers to a record, and marks are replayed with one for each text; "
                f"for spans there are {', '.join(DEFAULT)} and the like"
            )


def simulate_spans(
    request: Request,
    *,
    on_text: Progress | None = None,
    on_curve: Callable[[Finished], None] | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Simulation:
    """As simulate does, and raising what it raises; ``request.asked.columns.label`` names the column with the spans.

    Nothing is trained of the encoder, so ``on_step`` hears nothing.
    """
    if request.rung != "probe":
        raise ConfigError(f"rung {request.rung!r}: spans are replayed with the probe on token vectors; leave it out")
    if request.plan.noise:
        raise ConfigError("noise flips labels of whole records; leave it out for spans")
    if request.plan.metric != "span_f1":
        raise ConfigError(f"metric {request.plan.metric!r} is of whole records; spans are measured by span_f1")
    check_strategies(request.strategies)
    started = time.monotonic()
    columns = request.asked.columns
    rows = read_marked(request.data, columns, request.reading)
    if request.parts is not None:
        rows = rows.where(request.parts, columns.split)
    examples = rows.examples(labels_in(rows), columns.group is not None)
    tested = tested_rows(rows.splits, request.parts)
    encoder = load_span_encoder(request.encoder_spec)
    cache = TokenCache.open(request.cache / "embeddings", encoder)
    material = MarkedMaterial.of(cache.tokens(cache.ensure(examples.texts, encoder, on_text)), examples, tested)
    first = deal(material, request.plan, 0)
    runs = run(
        material,
        request.plan,
        request.strategies,
        request.seeds,
        request.cache / "simulate",
        jobs=request.jobs,
        fresh=request.fresh,
        report=on_curve,
        project=SpanProject,
    )
    return Simulation(
        request,
        examples.labels,
        summarise(runs, request.target),
        runs,
        tuple(_remarks(request, rows, examples, material)),
        _counts(rows, examples, material, first),
        hashlib.sha256(rows.digest().encode()).hexdigest(),
        time.monotonic() - started,
        learner="the probe on token vectors",
        cold="a cold start, with nothing known of what is to be marked",
    )


def _counts(rows: MarkedRows, examples: SpanExamples, material: Material, first: Deal) -> dict[str, int]:
    return {
        "n": len(material),
        "pool": len(first.pool),
        "tested": len(first.test),
        "groups": 0 if examples.groups is None else len(np.unique(examples.groups)),
        "copies": len(examples) - len(set(map(text_of, examples.texts))),
        "blank": rows.blank,
        "unlabelled": rows.unlabelled,
        "answers": len(examples),
        "most_answers": 1,
        "disagreements": 0,
        "tied": 0,
        "spans": examples.count,
    }


def _remarks(request: Request, rows: MarkedRows, examples: SpanExamples, material: Material) -> list[str]:
    remarks = rows.all_remarks()
    lost = examples.without_overlaps()[1]
    remarks += [f"{lost:,} marks overlap a longer one: they are not learned, and count as missed"] * bool(lost)
    remarks += remarks_on_chance(request, material)
    cut: list[Any] = [] if request.encoder == HASHING else remarks_on_cut(request.encoder_spec, examples.texts)
    return [*remarks, *cut]
