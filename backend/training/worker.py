"""The process that trains or encodes: ``python -m nextlabel.backend.training.worker WORK``, started by TrainingProcess.

It may be killed at any moment. What it finds in its folder when it is started again says where to go on: checkpoints
in ``scratch``, then ``trained``, the whole model before anything is predicted with it, and at last ``model``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nextlabel.backend.encoders.base import need, reads_images, usable_cores
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.fusion import has_towers
from nextlabel.backend.encoders.load import load
from nextlabel.backend.encoders.model_folder import folder_of, know_trained
from nextlabel.backend.files import write_atomically
from nextlabel.backend.lifeline import end_with
from nextlabel.backend.models.probe import LABELS_FILE, Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.models.spans.encoder import (
    Layer,
    SpanEncoder,
    TokenCache,
    TokenVectors,
    load_span_encoder,
    set_layer,
)
from nextlabel.backend.models.spans.metrics import all_right, span_f1
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError, NextlabelError

from .fewshot import FewShotTuner
from .finetune import FineTuner
from .fusion import train_fused
from .jobs import (
    EMBEDDED,
    MODEL,
    PREDICTIONS,
    SPANS_FILE,
    TEXTS_FILE,
    EmbeddingJob,
    Job,
    TrainingJob,
    readable_errors,
    write_found,
)
from .process import ERROR, PROGRESS
from .spans import SpanTrainer
from .spec import EpochFigures, ProgressReport, TrainingCancelled, TrainingProgress, Watch
from .towers import train_towers
from .trainer import TextTrainer, Trainer

NICE = 10
REPORT_SECONDS = 0.25
CHUNK = 256  # texts encoded between two reports
FAILED, CANCELLED = 1, 3

# What safetensors and torch say when they can't write: they don't raise OSError.
_NO_SPACE = ("No space left", "os error 28", "os error 27", "File too large", "PytorchStreamWriter", "unexpected pos ")
TRAINERS: dict[str, Callable[..., Trainer[Any, Any, Any]]] = {
    "few-shot": FewShotTuner,
    "fine-tune": FineTuner,
    "spans": SpanTrainer,
}
Stop: TypeAlias = Callable[[], bool]


class ProgressFile:
    """Writes reports to a file for the parent, not too often; a reader sees the last one whole.

    The epochs of a training stay in what is reported of the stages after it.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._temporary = file, file.with_name(f".{file.name}.tmp")
        self._last, self._stage = 0.0, ""
        self._history: Sequence[EpochFigures] = ()

    def __call__(self, progress: TrainingProgress) -> None:
        """Take a report; it is written if the last one is old, or of another stage."""
        self._history = progress.history or self._history
        if progress.stage == self._stage and time.monotonic() - self._last < REPORT_SECONDS:
            return
        self._last, self._stage = time.monotonic(), progress.stage
        self._temporary.write_text(
            json.dumps(asdict(replace(progress, history=tuple(self._history)))), encoding="ascii"
        )
        self._temporary.replace(self._file)


def run(work: Path, job: Job, report: ProgressReport, stop: Stop) -> None:
    """Do what is left to do of ``job`` in ``work``. Raises NextlabelError."""
    match job:
        case TrainingJob():
            train(work, job, report, stop)
        case EmbeddingJob():
            embed(work, job, report, stop)


def train(work: Path, job: TrainingJob, report: ProgressReport, stop: Stop) -> None:
    """Train, and predict the job's texts with what was trained."""
    trained, spec = work / "trained", job.encoder
    if not trained.is_dir() and job.kind == "fusion":
        train_fused(job, trained, report, stop)
    elif not trained.is_dir() and job.kind == "fine-tune" and has_towers(spec.name):
        where: dict[str, Any] = {"scratch": work / "scratch", "checkpoint_seconds": job.checkpoint_seconds}
        train_towers(spec, job.examples, job.held_out, job.spec, trained, report=report, stop=stop, **where)
    elif not trained.is_dir():
        need("torch", "transformers")
        import torch  # noqa: F401  # which it needs anyway: with it, a model that is new is read in this process

        base = folder_of(spec)
        how: dict[str, Any] = {"scratch": work / "scratch", "report": report, "stop": stop}
        trainer = TRAINERS[job.kind](checkpoint_seconds=job.checkpoint_seconds)
        trainer.train(base, job.examples, job.held_out, job.spec, trained, **how)
        if isinstance(trainer, TextTrainer):
            know_trained(trained, base, job.spec.pooling_of(base.pooling), spec.cache)
    predict = _predict_spans if job.kind == "spans" else _predict
    predict(work, job, trained, report, stop)
    shutil.rmtree(work / "scratch", ignore_errors=True)
    trained.rename(work / MODEL)


def _predict(work: Path, job: TrainingJob, trained: Path, report: ProgressReport, stop: Stop) -> None:
    """Probabilities of the job's texts."""
    from safetensors.numpy import save

    # It says itself how long a text it reads, and with which prompt.
    encoder = load(replace(job.encoder, name=str(trained), max_length=None, prompt=None), threads=spare_cores())
    parts = [encoder.encode(part) for part in in_chunks(job.predict, report, stop)]
    vectors = np.concatenate([np.empty((0, encoder.dimension), np.float32), *parts])
    broken = ~np.isfinite(vectors).all(axis=1)  # a row each where a picture can't be read now
    if broken.any() and (broken.all() or not reads_images(encoder)):
        raise LearningError(f"{trained} makes vectors that are no numbers; lower learning_rate, and train anew")
    probabilities = Probe.load(trained / HEAD_FILE).predict_proba(vectors)
    write_atomically(work / PREDICTIONS, save({"probabilities": np.ascontiguousarray(probabilities)}))


def _predict_spans(work: Path, job: TrainingJob, trained: Path, report: ProgressReport, stop: Stop) -> None:
    """Spans of the job's texts.

    A model is judged by what the loop would do with it: a probe on the vectors of the fine-tuned tokens, fitted on the
    training texts, marks the texts asked about.
    """
    encoder, probe = _best_layer(job, trained, report, stop)
    probe.save(trained / HEAD_FILE)
    labels = json.dumps({"labels": list(job.examples.labels), "kind": "spans"}, indent=1, ensure_ascii=False)
    (trained / LABELS_FILE).write_text(labels + "\n", encoding="utf-8")
    found = probe.predict(read_tokens(job.predict, encoder, report, stop))
    write_found(work / SPANS_FILE, [one.spans for one in found])


def embed(work: Path, job: EmbeddingJob, report: ProgressReport, stop: Stop) -> None:
    """Encode the job's texts into their cache."""
    watch = Watch(report, stop, job.WORD)

    def progress(done: int, total: int) -> None:
        watch.tell("embedding", done, total)

    with (work / TEXTS_FILE).open("rb") as lines:
        count = sum(1 for _ in lines)
    progress(0, count)
    encoder = (load_span_encoder if job.spans else load)(job.encoder, threads=spare_cores())
    kind = TokenCache if job.spans else EmbeddingCache
    cache = kind(job.embeddings, encoder.fingerprint, encoder.dimension)
    cache.ensure(job.texts, encoder, progress, total=count)
    write_atomically(work / EMBEDDED, b"")


def spare_cores() -> int:
    """All cores but one, which is left to the service."""
    return max(1, usable_cores() - 1)


def in_chunks(texts: Sequence[Readable], report: ProgressReport, stop: Stop) -> Iterator[Sequence[Readable]]:
    """``texts`` to encode, some at a time, each part told when it is done. Raises TrainingCancelled."""
    watch = Watch(report, stop)
    for start in range(0, len(texts), CHUNK):
        watch.check()
        yield texts[start : start + CHUNK]
        watch.report(TrainingProgress("embedding", min(start + CHUNK, len(texts)), len(texts), seconds=watch.seconds))


def _best_layer(job: TrainingJob, trained: Path, report: ProgressReport, stop: Stop) -> tuple[SpanEncoder, SpanProbe]:
    """The trained encoder, read from the layer on which a probe gets most held-out texts right, and that probe.

    The last one is trained most, but not always best: after 200 texts of restaurant8k a probe found spans with F1 0.77
    on the middle layer of MiniLM and 0.73 on the last. In doubt, and without held-out texts, it is the middle one,
    whose vectors cost half as much.
    """
    apart = job.examples.without_overlaps()[0]
    layers: tuple[Layer, ...] = ("middle", "last")
    best: tuple[tuple[float, float], Layer, SpanEncoder, SpanProbe] | None = None
    for layer in layers if job.held_out else layers[:1]:
        set_layer(trained, layer)
        encoder = load_span_encoder(replace(job.encoder, name=str(trained)), threads=spare_cores())
        probe = SpanProbe.fit(read_tokens(apart.texts, encoder, report, stop), apart.spans, apart.labels)
        mark = (0.0, 0.0)
        if job.held_out:
            predicted = probe.predict(read_tokens(job.held_out.texts, encoder, report, stop))
            found = [one.spans for one in predicted]
            mark = (float(all_right(found, job.held_out.spans).sum()), span_f1(found, job.held_out.spans))
        if best is None or mark > best[0]:
            best = (mark, layer, encoder, probe)
    assert best is not None  # noqa: S101  # there is a layer at least
    set_layer(trained, best[1])
    return best[2], best[3]


def read_tokens(
    texts: Sequence[Readable], encoder: SpanEncoder, report: ProgressReport, stop: Stop
) -> list[TokenVectors]:
    """The token vectors of every text."""
    return [one for part in in_chunks(texts, report, stop) for one in encoder.tokens(part).texts()]


def main(argv: list[str]) -> int:
    """``WORK LOCK PARENT``: the folder, the descriptor that holds its lock, and the process to end with."""
    work, lock, parent = Path(argv[0]), int(argv[1]), int(argv[2])
    os.set_inheritable(lock, False)  # what we start may outlive us, and must not hold it
    os.nice(NICE)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    end_with(parent)
    try:
        with readable_errors(work):
            run(work, Job.load(work), ProgressFile(work / PROGRESS), stopped.is_set)
    except TrainingCancelled as cancelled:
        return _failed(work, str(cancelled), CANCELLED)
    except NextlabelError as error:
        return _failed(work, str(error), FAILED)
    except MemoryError:
        return _failed(work, "memory ran out; take a smaller encoder, or free some", FAILED)
    except Exception as error:
        if any(sign in str(error) for sign in _NO_SPACE):
            return _failed(work, f"no space is left in {work}; free some and resume what was to be done there", FAILED)
        # A defect, ours or a library's.
        traceback.print_exc()
        return _failed(work, f"{type(error).__name__}: {error}; see {work / 'worker.log'}", FAILED)
    return 0


def _failed(work: Path, reason: str, status: int) -> int:
    sys.stderr.write(reason + "\n")  # the log, which the parent reads where there is no room for another file
    with contextlib.suppress(OSError):
        (work / ERROR).write_text(reason + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
