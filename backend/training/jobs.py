"""Jobs for a process of its own, as files: another process can go on with one after a kill.

``job.json``            everything but texts and numbers; written last, so a job without it is not one
``*.jsonl``             one value per line, in JSON: texts, or ``[text, context, [[start, end, label], ...]]``
``arrays.safetensors``  targets, weights and groups
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, final

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    SkipValidation,
    TypeAdapter,
    ValidationError,
    field_serializer,
)

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.files import atomic_path, is_full, write_atomically
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.connectors.errors import LearningError, StoreError, StoreFull
from nextlabel.connectors.records import Span

from .spec import CHECKPOINT_SECONDS, TrainingSpec

JOB_FILE, ARRAYS_FILE, PREDICT_FILE, TEXTS_FILE = "job.json", "arrays.safetensors", "predict.jsonl", "texts.jsonl"
MODEL, PREDICTIONS, SPANS_FILE, EMBEDDED = "model", "predictions.safetensors", "predictions.json", "embedded"


class Job(BaseModel):
    """What a worker is to do in a folder. ``RESULT`` is there when it is done; ``WORD`` names it in messages.

    ``encoder``: what a training starts from and reads as much of a text as, or what encodes. Making a job costs
    nothing: no model is loaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    RESULT: ClassVar[str] = MODEL
    WORD: ClassVar[str] = "training"

    encoder: EncoderSpec

    @field_serializer("encoder")
    def _in_any_folder(self, encoder: EncoderSpec) -> dict[str, Any]:
        return encoder.told()

    @final
    def save(self, work: Path) -> None:
        """Write it into ``work``, JOB_FILE last. Raises StoreFull and StoreError."""
        with readable_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            self._write(work)
            write_atomically(work / JOB_FILE, self.model_dump_json(indent=1).encode())

    @classmethod
    @final
    def load(cls, work: Path) -> Self:
        """Read what ``save`` wrote. Raises LearningError if it isn't there, isn't whole, or is another kind of job."""
        job = load_job(work)
        if not isinstance(job, cls):
            raise LearningError(f"{work} holds another kind of job; start this one anew")
        return job

    def _write(self, work: Path) -> None:
        """Write what JOB_FILE has not."""
        raise NotImplementedError

    @classmethod
    def _read(cls, work: Path) -> dict[str, Any]:
        """What ``_write`` wrote, by name."""
        raise NotImplementedError


class TrainingJob(Job):
    """Train on whole texts, then predict with the new model.

    ``predict``: texts whose probabilities are wanted, in PREDICTIONS. ``checkpoint_seconds`` is the time between two
    checkpoints, the most that a kill costs.
    """

    job: Literal["texts"] = "texts"
    kind: JobKind
    spec: TrainingSpec
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    examples: InstanceOf[Examples] = Field(exclude=True)
    held_out: InstanceOf[Examples] | None = Field(default=None, exclude=True)
    predict: SkipValidation[Sequence[str]] = Field(default=(), exclude=True)

    def _write(self, work: Path) -> None:
        from safetensors.numpy import save

        arrays: dict[str, Any] = {}
        for name, part in (("examples", self.examples), ("held_out", self.held_out)):
            if part is not None:
                write_lines(work / f"{name}.jsonl", [list(part.labels), *part.texts])
                columns = {"targets": part.targets, "weights": part.weights, "groups": part.groups}
                arrays |= {f"{name}.{key}": np.ascontiguousarray(c) for key, c in columns.items() if c is not None}
        write_lines(work / PREDICT_FILE, self.predict)
        write_atomically(work / ARRAYS_FILE, save(arrays))

    @classmethod
    def _read(cls, work: Path) -> dict[str, Any]:
        from safetensors.numpy import load_file

        arrays, parts = load_file(work / ARRAYS_FILE), {}
        for name in ("examples", "held_out"):
            if name == "examples" or f"{name}.targets" in arrays:
                labels, *texts = read_lines(work / f"{name}.jsonl")
                columns = (arrays.get(f"{name}.{key}") for key in ("weights", "groups"))
                parts[name] = Examples(tuple(texts), arrays[f"{name}.targets"], tuple(labels), *columns)
        return {**parts, "predict": list(read_lines(work / PREDICT_FILE))}


class SpanTrainingJob(Job):
    """Fine-tune on tokens, fit a probe on their vectors, and find the spans of ``predict`` with that, in SPANS_FILE.

    ``predict``: texts as SpanEncoder reads them. ``checkpoint_seconds`` as in TrainingJob.
    """

    job: Literal["spans"] = "spans"
    spec: TrainingSpec
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    examples: InstanceOf[SpanExamples] = Field(exclude=True)
    held_out: InstanceOf[SpanExamples] | None = Field(default=None, exclude=True)
    predict: SkipValidation[Sequence[str]] = Field(default=(), exclude=True)

    def _write(self, work: Path) -> None:
        (work / "held_out.jsonl").unlink(missing_ok=True)
        for name, part in (("examples", self.examples), ("held_out", self.held_out)):
            if part is not None:
                write_lines(work / f"{name}.jsonl", _span_rows(part))
        write_lines(work / PREDICT_FILE, self.predict)

    @classmethod
    def _read(cls, work: Path) -> dict[str, Any]:
        held_out = work / "held_out.jsonl"
        return {
            "examples": _span_examples(work / "examples.jsonl"),
            "held_out": _span_examples(held_out) if held_out.exists() else None,
            "predict": list(read_lines(work / PREDICT_FILE)),
        }


class EmbeddingJob(Job):
    """Encode ``texts`` into the EmbeddingCache in the folder ``embeddings``; with ``spans``, into the TokenCache there.

    What is encoded is in the cache within a second, so a job that was killed needs no checkpoint: whoever starts the
    next one leaves out what is there already. ``texts`` may be a generator; it is read once, by ``save``, and from
    disk as it is used after that.
    """

    RESULT: ClassVar[str] = EMBEDDED
    WORD: ClassVar[str] = "encoding of the records"

    job: Literal["embedding"] = "embedding"
    embeddings: Path
    spans: bool = False
    texts: SkipValidation[Iterable[str]] = Field(exclude=True)

    def _write(self, work: Path) -> None:
        write_lines(work / TEXTS_FILE, self.texts)

    @classmethod
    def _read(cls, work: Path) -> dict[str, Any]:
        return {"texts": read_lines(work / TEXTS_FILE)}


AnyJob: TypeAlias = Annotated[TrainingJob | SpanTrainingJob | EmbeddingJob, Field(discriminator="job")]
_JOBS: dict[str, type[Job]] = {"texts": TrainingJob, "spans": SpanTrainingJob, "embedding": EmbeddingJob}
_ANY_JOB: TypeAdapter[TrainingJob | SpanTrainingJob | EmbeddingJob] = TypeAdapter(AnyJob)


def job_type(work: Path) -> type[Job]:
    """What kind of job ``work`` holds. Raises LearningError if there is none, or it is of another version."""
    file = work / JOB_FILE
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        return _JOBS[told["job"]]
    except FileNotFoundError as error:
        raise LearningError(f"{work} holds no training job ({file} is missing); start one") from error
    except (TypeError, KeyError) as error:
        raise LearningError(f"{file} is of another version; start the training anew") from error
    except (OSError, ValueError) as error:
        raise LearningError(f"{file} can't be read: {error}; start the training anew") from error


def load_job(work: Path) -> TrainingJob | SpanTrainingJob | EmbeddingJob:
    """The job in ``work``. Raises LearningError if there is none, or it isn't whole, or is of another version."""
    try:
        kind, told = job_type(work), json.loads((work / JOB_FILE).read_bytes())
        return _ANY_JOB.validate_python(told | kind._read(work))
    except FileNotFoundError as error:
        raise LearningError(f"{work} holds no training job ({error.filename} is missing); start one") from error
    except LearningError:
        raise
    except Exception as error:  # not JSON, not safetensors, or with something missing
        what = "it has not what a job has" if isinstance(error, ValidationError) else error
        raise LearningError(f"the job in {work} can't be read: {what}; start it anew") from error


def write_lines(file: Path, values: Iterable[Any]) -> int:
    """Write ``values`` to ``file``, one per line in JSON, all or none of them; return how many there are."""
    count = 0
    with atomic_path(file) as temporary, temporary.open("w", encoding="ascii") as stream:
        for value in values:
            stream.write(json.dumps(value) + "\n")
            count += 1
    return count


def read_lines(file: Path) -> Iterator[Any]:
    """What ``write_lines`` wrote, read as it is used."""
    with file.open(encoding="ascii") as stream:
        for line in stream:
            yield json.loads(line)


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


@contextmanager
def readable_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk says into StoreFull and StoreError."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StoreFull(f"no space is left for the training in {folder}; free some and start it again") from error
        raise StoreError(f"the training can't use the folder {folder}: {error}") from error


def _span_rows(examples: SpanExamples) -> Iterable[Any]:
    yield list(examples.labels)
    contexts = examples.contexts or ("",) * len(examples)
    for text, context, spans in zip(examples.texts, contexts, examples.spans, strict=True):
        yield [text, context, [[span.start, span.end, span.label] for span in spans]]


def _span_examples(file: Path) -> SpanExamples:
    labels, *rows = read_lines(file)
    texts, contexts = (tuple(row[at] for row in rows) for at in (0, 1))
    spans = tuple(tuple(Span(*span) for span in row[2]) for row in rows)
    return SpanExamples(texts, spans, tuple(labels), contexts)
