"""Jobs for a process of its own, as files: another process can go on with one after a kill.

``job.json``       everything but texts and numbers; written last, so a job without it is not one
``*.jsonl``        one value per line, in JSON: texts, or ``[text, [[start, end, label], ...]]``
``*.safetensors``  targets, weights and groups of the texts in the file of that name
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError, field_serializer
from typing_extensions import override

from nextlabel.backend import files
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.span_examples import SpanExamples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.files import atomic_path, write_atomically
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.connectors.content import Readable, as_json, from_json
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span

from .spec import CHECKPOINT_SECONDS, TrainingSpec

JOB_FILE, PREDICT_FILE, TEXTS_FILE = "job.json", "predict.jsonl", "texts.jsonl"
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
        """Read what ``save`` wrote; Job itself reads any kind.

        Raises LearningError if it isn't there, isn't whole, is of another version, or is another kind of job.
        """
        kind, told = _head(work)
        try:
            job = kind.model_validate(told | kind._read(work, told))
        except FileNotFoundError as error:
            raise LearningError(f"{work} holds no training job ({error.filename} is missing); start one") from error
        except LearningError:
            raise
        except Exception as error:  # not JSON, not safetensors, or with something missing
            what = "it has not what a job has" if isinstance(error, ValidationError) else error
            raise LearningError(f"the job in {work} can't be read: {what}; start it anew") from error
        if not isinstance(job, cls):
            raise LearningError(f"{work} holds another kind of job; start this one anew")
        return job

    def _write(self, work: Path) -> None:
        """Write what JOB_FILE has not."""
        raise NotImplementedError

    @classmethod
    def _read(cls, work: Path, told: dict[str, Any]) -> dict[str, Any]:
        """What ``_write`` wrote, by name; ``told`` is what JOB_FILE has."""
        raise NotImplementedError


class TrainingJob(Job):
    """Train on labelled texts, then predict with the new model.

    ``examples`` and ``held_out`` are SpanExamples where ``kind`` is ``spans``, else Examples. ``predict``: texts, as
    the encoder reads them, whose probabilities are wanted in PREDICTIONS, or their spans in SPANS_FILE.
    ``checkpoint_seconds`` is the time between two checkpoints, the most that a kill costs.
    """

    job: Literal["training"] = "training"
    kind: JobKind
    spec: TrainingSpec
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    examples: Any = Field(exclude=True)
    held_out: Any = Field(default=None, exclude=True)
    predict: SkipValidation[Sequence[Readable]] = Field(default=(), exclude=True)

    @override
    def _write(self, work: Path) -> None:
        (work / "held_out.jsonl").unlink(missing_ok=True)
        _write_examples(work / "examples.jsonl", self.examples)
        if self.held_out is not None:
            _write_examples(work / "held_out.jsonl", self.held_out)
        write_lines(work / PREDICT_FILE, self.predict)

    @classmethod
    @override
    def _read(cls, work: Path, told: dict[str, Any]) -> dict[str, Any]:
        read = _read_spans if told["kind"] == "spans" else _read_examples
        held_out = work / "held_out.jsonl"
        return {
            "examples": read(work / "examples.jsonl"),
            "held_out": read(held_out) if held_out.exists() else None,
            "predict": [from_json(text) for text in read_lines(work / PREDICT_FILE)],
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
    texts: SkipValidation[Iterable[Readable]] = Field(exclude=True)

    @override
    def _write(self, work: Path) -> None:
        write_lines(work / TEXTS_FILE, self.texts)

    @classmethod
    @override
    def _read(cls, work: Path, told: dict[str, Any]) -> dict[str, Any]:
        return {"texts": map(from_json, read_lines(work / TEXTS_FILE))}


_JOBS: dict[str, type[Job]] = {"training": TrainingJob, "embedding": EmbeddingJob}


def job_type(work: Path) -> type[Job]:
    """What kind of job ``work`` holds. Raises LearningError if there is none, or it is of another version."""
    return _head(work)[0]


def _head(work: Path) -> tuple[type[Job], dict[str, Any]]:
    file = work / JOB_FILE
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        return _JOBS[told["job"]], told
    except FileNotFoundError as error:
        raise LearningError(f"{work} holds no training job ({file} is missing); start one") from error
    except (TypeError, KeyError) as error:
        raise LearningError(f"{file} is of another version; start the training anew") from error
    except (OSError, ValueError) as error:
        raise LearningError(f"{file} can't be read: {error}; start the training anew") from error


def write_lines(file: Path, values: Iterable[Any]) -> int:
    """Write ``values`` to ``file``, one per line in JSON, all or none of them; return how many there are."""
    count = 0
    with atomic_path(file) as temporary, temporary.open("w", encoding="ascii") as stream:
        for value in values:
            stream.write(json.dumps(value, default=as_json) + "\n")
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


def readable_errors(folder: Path) -> AbstractContextManager[None]:
    """Turn what the disk says into StoreFull and StoreError."""
    return files.readable_errors(
        f"no space is left for the training in {folder}; free some and start it again",
        f"the training can't use the folder {folder}",
    )


def _write_examples(file: Path, examples: Examples | SpanExamples) -> None:
    """Labels, then a row for each text; numbers of Examples go beside it, in safetensors."""
    from safetensors.numpy import save

    rows: Iterable[Any]
    if isinstance(examples, SpanExamples):
        spans = ([[span.start, span.end, span.label] for span in row] for row in examples.spans)
        rows = zip(examples.texts, spans, strict=True)
    else:
        rows = examples.texts
        columns = {"targets": examples.targets, "weights": examples.weights, "groups": examples.groups}
        arrays = {name: np.ascontiguousarray(one) for name, one in columns.items() if one is not None}
        write_atomically(file.with_suffix(".safetensors"), save(arrays))
    write_lines(file, [list(examples.labels), *rows])


def _read_examples(file: Path) -> Examples:
    from safetensors.numpy import load_file

    labels, *texts = read_lines(file)
    return Examples(tuple(map(from_json, texts)), labels=tuple(labels), **load_file(file.with_suffix(".safetensors")))


def _read_spans(file: Path) -> SpanExamples:
    labels, *rows = read_lines(file)
    spans = tuple(tuple(Span(*span) for span in marked) for _, marked in rows)
    return SpanExamples(tuple(from_json(text) for text, _ in rows), spans, tuple(labels))
