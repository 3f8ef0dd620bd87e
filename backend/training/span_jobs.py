"""A fine-tuning for spans as files, and the process that does it: what training.jobs is for whole texts.

``job.json``                         everything but texts; written last, so a job without it is not one
``examples.jsonl held_out.jsonl``    a text a line: [text, context, [[start, end, label], ...]]
``predict.jsonl``                    a text a line, as SpanEncoder reads it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.backend.store.atomic import write_atomically
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

from .jobs import JOB_FILE, read_lines, readable_errors, write_lines
from .loop import CHECKPOINT_SECONDS
from .process import TrainingProcess
from .spec import TrainingSpec

FORMAT = "nextlabel-span-training-1"
SPANS_FILE = "predictions.json"
"""Beside the model: the spans that are found in the job's ``predict`` texts."""


@dataclass(frozen=True, slots=True)
class SpanTrainingJob:
    """Fine-tune ``encoder`` on tokens, fit a probe on its vectors, and find the spans of ``predict`` with that.

    ``encoder``, ``max_length`` and ``cache_dir`` as for load_span_encoder. ``predict``: texts as SpanEncoder reads
    them. ``checkpoint_seconds`` as in TrainingJob. Fulfils Job.
    """

    encoder: str
    examples: SpanExamples
    spec: TrainingSpec
    cache_dir: Path
    max_length: int
    held_out: SpanExamples | None = None
    predict: Sequence[str] = field(default=())
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    def save(self, work: Path) -> None:
        """See Job."""
        with readable_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            for name, part in (("examples", self.examples), ("held_out", self.held_out)):
                if part is not None:
                    write_lines(work / f"{name}.jsonl", _rows(part))
            write_lines(work / "predict.jsonl", self.predict)
            told = {
                "format": FORMAT,
                "encoder": self.encoder,
                "max_length": self.max_length,
                "checkpoint_seconds": self.checkpoint_seconds,
                "cache_dir": str(self.cache_dir.absolute()),
                "labels": list(self.examples.labels),
                "held_out": self.held_out is not None,
                "spec": self.spec.model_dump(),
            }
            write_atomically(work / JOB_FILE, json.dumps(told, indent=1).encode())

    @classmethod
    def load(cls, work: Path) -> SpanTrainingJob:
        """Read what ``save`` wrote. Raises LearningError if it isn't there or isn't whole."""
        try:
            told: dict[str, Any] = json.loads((work / JOB_FILE).read_bytes())
            if told.pop("format", None) != FORMAT:
                raise LearningError(f"{work / JOB_FILE} is of another version; start the training anew")
            labels = tuple(told.pop("labels"))
            held_out = _examples(work / "held_out.jsonl", labels) if told.pop("held_out") else None
            told |= {"spec": TrainingSpec(**told["spec"]), "cache_dir": Path(told["cache_dir"])}
            examples, predict = _examples(work / "examples.jsonl", labels), list(read_lines(work / "predict.jsonl"))
            return cls(examples=examples, held_out=held_out, predict=predict, **told)
        except FileNotFoundError as error:
            raise LearningError(f"{work} holds no training job ({error.filename} is missing); start one") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LearningError(f"the training job in {work} can't be read: {error}; start it anew") from error


class SpanTrainingProcess(TrainingProcess):
    """A fine-tuning for spans in a process of its own; SPANS_FILE is there before the model is."""

    WORKER: ClassVar[str] = "nextlabel.backend.training.span_worker"


def write_found(file: Path, found: Iterable[Sequence[ScoredSpan]]) -> None:
    """Write the spans of some texts to ``file``, JSON."""
    rows = [[[span.start, span.end, span.label, span.score] for span in spans] for spans in found]
    write_atomically(file, json.dumps(rows).encode())


def read_found(file: Path) -> list[tuple[ScoredSpan, ...]]:
    """What ``write_found`` wrote. Raises LearningError if it can't be read."""
    try:
        return [tuple(ScoredSpan(*span) for span in spans) for spans in json.loads(file.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise LearningError(f"{file} can't be read: {error}; remove {file.parent} and train anew") from error


def _rows(examples: SpanExamples) -> Iterable[Any]:
    contexts = examples.contexts or ("",) * len(examples)
    for text, context, spans in zip(examples.texts, contexts, examples.spans, strict=True):
        yield [text, context, [[span.start, span.end, span.label] for span in spans]]


def _examples(file: Path, labels: tuple[str, ...]) -> SpanExamples:
    rows = [(text, context, tuple(Span(*span) for span in spans)) for text, context, spans in read_lines(file)]
    spans = tuple(row[2] for row in rows)
    return SpanExamples(tuple(row[0] for row in rows), spans, labels, tuple(row[1] for row in rows))
