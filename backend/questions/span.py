"""Labelled stretches of the first text field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import Activation
from nextlabel.backend.annotators.label_errors import LabelErrors, of_tokens
from nextlabel.backend.data.span_examples import SpanExamples, fault_of, longest_apart, trimmed
from nextlabel.backend.encoders.base import Encoder, EncoderSpec
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.models.card import Figure, JobKind, ModelCard, hash_of
from nextlabel.backend.models.probe import Probe, differences
from nextlabel.backend.models.spans.decoding import decode, log_softmax
from nextlabel.backend.models.spans.encoder import SpanEncoder, TokenCache, TokenStack, load_span_encoder
from nextlabel.backend.models.spans.metrics import all_right, span_f1, span_interval
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.models.spans.tagging import IntArray, TagSet
from nextlabel.backend.numeric import as_objects
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Annotation, Span, Suggestion, Value

from .base import Column, Question, Target, spans_of
from .head import Head, Space
from .outputs import Flags, Outputs, Rows, View
from .span_voices import SpanVoicing

LEAST_TEXTS = 5
"""Texts that must bear one and the same label before an encoder is trained on them."""
LEAST = 1e-12  # a probability of 0 has no logarithm
CHUNK = 1024  # texts whose token vectors are in memory together: some 25 MB of short ones


@dataclass(frozen=True, slots=True)
class SpanHead(Head):
    """A probe on token vectors. What it says of a text is a SpanPrediction."""

    probe: SpanProbe

    @property
    @override
    def is_blank(self) -> bool:
        """What spans are, only answers tell."""
        return self.probe.texts == 0

    @override
    def predict(self, cache: EmbeddingCache, rows: Rows) -> Outputs:
        return as_objects([one for _, stack in _stacks(cache, rows) for one in self.probe.predict(stack.texts())])

    @override
    def predict_read(self, read: npt.NDArray[Any]) -> Outputs:
        return as_objects(self.probe.predict(read.tolist()))

    @override
    def view(self, cache: EmbeddingCache, rows: Rows, *, spans: bool) -> View:
        return self.seen(_stacks(cache, rows), len(rows), spans=spans)

    def seen(self, stacks: Iterable[tuple[int, TokenStack]], size: int, *, spans: bool) -> View:
        """``size`` texts, of which ``stacks`` gives the token vectors: some texts at a time, and where they begin.

        A doubt u in [0, 1] about a text's spans stands as the probabilities 1 - u/2 and u/2.

        So margin and least confidence are u itself, and the entropy grows with it. The doubt is that all spans are
        right, and none is missing: taken a token, as in SpanPrediction.uncertainty, it asks about the shortest texts,
        which teach little (benchmarks/spans_loop.py). Vectors are the means of the tokens' vectors.
        """
        proposed = None
        if spans:
            found = as_objects([one for _, stack in stacks for one in self.probe.predict(stack.texts())])
            doubts = np.array([1 - one.confidence for one in found], np.float32)
            proposed = self._proposed(found)
        else:
            doubts = np.ones(size, np.float32)
            for at, stack in stacks if not self.is_blank else ():  # who knows nothing doubts all alike
                doubts[at : at + len(stack)] = self.probe.doubts(stack)
        return View(np.stack([1 - doubts / 2, doubts / 2], axis=1), proposed)

    def _proposed(self, found: Outputs) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
        number = {label: index for index, label in enumerate(self.probe.labels)}
        spans = [(row, number[span.label], span.score) for row, one in enumerate(found) for span in one.spans]
        records, labels, scores = zip(*spans, strict=True) if spans else ((), (), ())
        return np.array(records, np.int64), np.array(labels, np.int64), np.array(scores, np.float32)

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return self.probe.labels

    @override
    def aligned(self, labels: tuple[str, ...], activation: Activation) -> SpanHead | None:
        probe = self.probe.aligned(labels)
        return None if probe is None else SpanHead(probe)

    @override
    def fault(self, encoder: Encoder) -> str:
        fits = self.probe.weights.shape[1] in (0, 3 * encoder.dimension)
        return "" if fits else f"it reads other vectors than those of {encoder.name}"

    @override
    def save(self, path: Path) -> None:
        self.probe.save(path)


@dataclass(frozen=True, slots=True)
class UnitTags:
    """What a head says of one text: ``bounds`` int64 [u, 2] of its units, and their tags, float64 [u, k]."""

    bounds: IntArray
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reader:
    """Token vectors of texts for the micro-batcher: an object array, one TokenVectors per text."""

    encoder: SpanEncoder

    def __call__(self, texts: Sequence[Readable]) -> npt.NDArray[np.object_]:
        """One TokenVectors per text."""
        return as_objects(self.encoder.tokens(texts).texts())


class Spans(Question):
    """Any number of spans per record. Targets are tuples of Span, and nobody weighs annotators on them."""

    part: ClassVar[type] = Span
    reads_tokens: ClassVar[bool] = True
    scores: ClassVar[bool] = False
    votes: ClassVar[bool] = False
    rungs: ClassVar[tuple[JobKind, ...]] = ("spans",)

    @override
    def value_of(self, target: Any) -> Value:
        return tuple(target)

    @override
    def _alike(self, one: Value, other: Value) -> float:
        """The F1 of two people's marks: one is the same if start, end and label are; who marks nothing agree."""
        marks = set(one), set(other)
        said = len(marks[0]) + len(marks[1])
        return 2 * len(marks[0] & marks[1]) / said if said else 1.0

    @override
    def exported(self, cell: Sequence[Any] | None, *, known: bool = False) -> Any:
        if cell is None:
            return None
        kept = [part for part in cell if not known or part["label"] in self.index]
        return [{name: part[name] for name in ("start", "end", "label")} for part in kept]

    @override
    def feature(self, label: Any) -> Any:
        from datasets import Value as Number

        return [{"start": Number("int64"), "end": Number("int64"), "label": label}]

    @override
    def column(self, name: str) -> Column:
        return name, np.object_, ()

    @override
    def vote_column(self, name: str) -> Column:
        return name, np.int64, ()

    @override
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        return tuple(spans_of(known))

    @override
    def sensible(self, value: Value, text: str) -> Value:
        return tuple(span for span in spans_of(value) if not fault_of(span, text))

    @override
    def fitted(self, one: Annotation, text: str) -> tuple[Annotation | None, list[str]]:
        """White space at the ends of a mark means nothing: whoever clicks twice has the blank behind a word.

        A mark that is empty or reaches out of its text marks nothing, and an answer of such alone is none.
        """
        spans = spans_of(one.value)
        kept = tuple(trimmed(span, text) for span in spans if not fault_of(span, text))
        faults = [fault for span in spans if (fault := fault_of(span, text))]
        return (replace(one, value=kept) if kept or not faults else None), faults

    @override
    def fault(self, value: Value, text: str) -> str:
        return next((fault for span in spans_of(value) if (fault := fault_of(span, text))), "")

    @override
    def renamed(self, value: Value, names: Mapping[str, str]) -> Value:
        return tuple(replace(span, label=names.get(span.label, span.label)) for span in spans_of(value))

    @override
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        carried = np.zeros((len(targets), len(self.index)), np.bool_)
        for row, spans in enumerate(targets):
            carried[row, [self.index[span.label] for span in spans]] = True
        return carried

    @override
    def count(self, targets: npt.NDArray[Any]) -> dict[str, int]:
        classes = [self.index[span.label] for spans in targets for span in spans]
        counts = np.bincount(np.array(classes, np.int64), minlength=len(self.index))
        return {label: int(count) for label, count in zip(self.labeling.labels, counts, strict=True)}

    @property
    @override
    def voicing(self) -> SpanVoicing:
        return SpanVoicing(self.labeling.labels)

    @override
    def prior(self, file: Path) -> tuple[Probe | None, str]:
        """A span probe starts anew from what is marked."""
        try:
            known = self.read_head(file).labels
        except LearningError:
            return None, "its head is for whole texts, or can't be read"
        return None, differences(known, self.labeling.labels, several=True, wants_several=True)

    # -- predictions: whole texts are right or wrong, and F1 of single spans stands beside that -----------------------

    @override
    def right(self, outputs: Outputs, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return all_right([one.spans for one in outputs], targets.tolist())

    @override
    def figures(self, outputs: Outputs, targets: npt.NDArray[Any]) -> dict[str, float]:
        return {"span_f1": span_f1([one.spans for one in outputs], targets.tolist())}

    @override
    def unsaid(self, cache: EmbeddingCache, rows: Rows, targets: npt.NDArray[Any]) -> str:
        """Marks that begin or end inside of a token."""
        wide = marks = 0
        for at, stack in _stacks(cache, rows):
            for one, spans in zip(stack.texts(), targets[at : at + len(stack)], strict=True):
                starts, ends = set(one.bounds[:, 0].tolist()), set(one.bounds[:, 1].tolist())
                wide += sum(span.start not in starts or span.end not in ends for span in spans)
                marks += len(spans)
        if not wide:
            return ""
        return f"{wide:,} of {marks:,} marks begin or end inside of a token of the encoder: it can't suggest those"

    @override
    def card_figures(self, outputs: Outputs, targets: npt.NDArray[Any], where: str) -> tuple[Figure, ...]:
        found, answers = [one.spans for one in outputs], targets.tolist()
        if not any(map(len, (*found, *answers))):
            return ()
        f1 = span_interval(found, answers)
        return (Figure("span F1", f1.mean, f1.low, f1.high, len(answers), where),)

    @override
    def suggestions(self, outputs: Outputs, version: str) -> list[Suggestion]:
        return [
            Suggestion(
                tuple(Span(span.start, span.end, span.label) for span in one.spans),
                one.confidence,
                version,
                tuple(span.score for span in one.spans),
            )
            for one in outputs
        ]

    @override
    def evidence(self, head: Head, cache: EmbeddingCache, rows: Rows) -> Outputs:
        """One UnitTags per text."""
        if not isinstance(head, SpanHead):
            raise LearningError("labels of whole texts say nothing of marks in them")
        found: list[UnitTags] = []
        for _, stack in _stacks(cache, rows):
            p = np.exp(log_softmax(head.probe.logits(stack)))
            parts = np.split(p, stack.starts[1:-1])
            found += [UnitTags(one.bounds, part) for one, part in zip(stack.texts(), parts, strict=True)]
        return as_objects(found)

    @override
    def label_errors(self, evidence: Outputs, targets: npt.NDArray[Any]) -> LabelErrors:
        """A text is judged by its worst unit. Of marks that overlap, the longer counts, as in what is learned."""
        tags = TagSet.of(self.labeling.labels)
        given = [tags.encode(one.bounds, longest_apart(spans))[0] for one, spans in zip(evidence, targets, strict=True)]
        return of_tokens([one.probabilities for one in evidence], given)

    @override
    def proposed(self, evidence: Outputs) -> list[Value]:
        logits = [np.log(np.maximum(one.probabilities, LEAST)) for one in evidence]
        found = decode(logits, [one.bounds for one in evidence], TagSet.of(self.labeling.labels))
        return [tuple(Span(span.start, span.end, span.label) for span in one.spans) for one in found]

    # -- trainings ---------------------------------------------------------------------------------------------------

    @override
    def too_few(self, targets: npt.NDArray[Any]) -> str:
        if self.carried(targets).sum(axis=0).max(initial=0) >= LEAST_TEXTS:
            return ""
        return f"{LEAST_TEXTS} texts with a span of one label are needed before anything can be trained"

    @override
    def examples(self, texts: Sequence[Readable], targets: npt.NDArray[Any]) -> SpanExamples:
        """Spans that make no sense in their text are left out: the platform took them, but nobody can learn them."""
        labels = self.labeling.labels
        spans = tuple(
            tuple(span for span in spans if not fault_of(span, text_of(text), labels))
            for text, spans in zip(texts, targets, strict=True)
        )
        return SpanExamples(tuple(texts), spans, labels)

    @override
    def noted(self, card: ModelCard, examples: SpanExamples, head: Path) -> ModelCard:
        spans = [sorted([span.start, span.end, span.label] for span in row) for row in examples.spans]
        counts = Counter(label for row in examples.spans for label in {span.label for span in row})
        return replace(
            card,
            data_hash=hash_of(examples.texts, spans),
            counts={label: counts[label] for label in examples.labels},
        )

    # -- encoders and heads ------------------------------------------------------------------------------------------

    @override
    def load_encoder(self, spec: EncoderSpec, threads: int | None = None) -> Encoder:
        return load_span_encoder(spec, threads)

    @override
    def open_cache(self, folder: Path, encoder: Encoder) -> EmbeddingCache:
        return TokenCache.open(folder, encoder)

    @override
    def read(self, cache: EmbeddingCache, rows: Rows) -> npt.NDArray[np.object_]:
        return as_objects(_tokens(cache).tokens(rows).texts())

    @override
    def reader(self, encoder: Encoder) -> Callable[[Sequence[Readable]], npt.NDArray[Any]]:
        if not isinstance(encoder, SpanEncoder):
            raise LearningError(f"{encoder.name} makes one vector per text; spans need one for every token")
        return Reader(encoder)

    @override
    def fit(
        self,
        space: Space,
        rows: Rows,
        targets: npt.NDArray[Any],
        warm: Head | None = None,
        settled: Flags | None = None,
    ) -> SpanHead:
        """Of spans of an answer that overlap, the longer is learned. No answer is doubted."""
        before = warm.probe if isinstance(warm, SpanHead) else None
        spans = [longest_apart(value) for value in targets]
        texts = _tokens(space.cache).tokens(rows).texts()
        return SpanHead(SpanProbe.fit(texts, spans, self.labeling.labels, warm=before))

    @override
    def read_head(self, path: Path) -> SpanHead:
        return SpanHead(SpanProbe.load(path))


def _tokens(cache: EmbeddingCache) -> TokenCache:
    if not isinstance(cache, TokenCache):
        raise LearningError(f"the vectors in {cache.folder} are kept a text; spans need those of every token")
    return cache


def _stacks(cache: EmbeddingCache, rows: Rows) -> Iterator[tuple[int, TokenStack]]:
    """The token vectors of the texts in ``rows``, some at a time; and which of them is the first."""
    for at in range(0, len(rows), CHUNK):
        yield at, _tokens(cache).tokens(rows[at : at + CHUNK])
