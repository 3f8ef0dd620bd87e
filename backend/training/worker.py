"""The process that trains: ``python -m nextlabel.backend.training.worker WORK``, started by TrainingProcess.

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
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nextlabel.backend.encoders.base import usable_cores
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.store.atomic import write_atomically
from nextlabel.connectors.errors import NextlabelError

from .fewshot import FewShotTuner
from .finetune import FineTuner
from .jobs import TrainingJob, readable_errors
from .process import ERROR, MODEL, PREDICTIONS, PROGRESS
from .progress import ProgressReport, TrainingCancelled, TrainingProgress

if TYPE_CHECKING:
    from .finetune import Trainer

NICE = 10
PARENT_SECONDS = 1.0  # between two looks whether the parent is still there
REPORT_SECONDS = 0.25
CHUNK = 256  # texts encoded between two reports

FAILED, CANCELLED = 1, 3

# What safetensors and torch say when they can't write: they don't raise OSError.
_NO_SPACE = ("No space left", "os error 28", "os error 27", "File too large", "PytorchStreamWriter failed")

Stop: TypeAlias = Callable[[], bool]


class ProgressFile:
    """Writes reports to a file for the parent, not too often; a reader sees the last one whole."""

    def __init__(self, file: Path) -> None:
        self._file, self._temporary = file, file.with_name(f".{file.name}.tmp")
        self._last, self._stage = 0.0, ""

    def __call__(self, progress: TrainingProgress) -> None:
        """Take a report; it is written if the last one is old, or of another stage."""
        if progress.stage == self._stage and time.monotonic() - self._last < REPORT_SECONDS:
            return
        self._last, self._stage = time.monotonic(), progress.stage
        self._temporary.write_text(json.dumps(asdict(progress)), encoding="ascii")
        self._temporary.replace(self._file)


def run_job(work: Path, job: TrainingJob, report: ProgressReport, stop: Stop) -> None:
    """Do what is left to do of ``job``. Raises NextlabelError."""
    trained = work / "trained"
    if job.kind == "fusion" and not trained.is_dir():
        from .fusion import train_fused

        train_fused(job, trained, report, stop)
    if not trained.is_dir():
        base = replace(find_model(job.encoder, max_length=job.max_length, prompt=job.prompt), windows=job.windows)
        _trainer(job).train(
            base, job.examples, job.held_out, job.spec, trained, scratch=work / "scratch", report=report, stop=stop
        )
    threads = max(1, usable_cores() - 1)
    encoder = load_encoder(
        str(trained), job.engine, cache_dir=job.cache_dir, threads=threads, windows=job.windows, images=job.images
    )
    vectors = np.concatenate(
        [
            np.empty((0, encoder.dimension), np.float32),
            *(encoder.encode(part) for part in in_chunks(job.predict, report, stop)),
        ]
    )
    probabilities = Probe.load(trained / HEAD_FILE).predict_proba(vectors)
    from safetensors.numpy import save

    write_atomically(work / PREDICTIONS, save({"probabilities": np.ascontiguousarray(probabilities)}))
    shutil.rmtree(work / "scratch", ignore_errors=True)
    trained.rename(work / MODEL)


def _trainer(job: TrainingJob) -> Trainer:
    if job.kind == "few-shot":
        return FewShotTuner()

    return FineTuner(checkpoint_seconds=job.checkpoint_seconds)


def in_chunks(texts: Sequence[str], report: ProgressReport, stop: Stop) -> Iterator[Sequence[str]]:
    """``texts`` to encode, some at a time, each part told when it is done. Raises TrainingCancelled."""
    started = time.monotonic()
    for start in range(0, len(texts), CHUNK):
        if stop():
            raise TrainingCancelled("the training was stopped while texts were encoded")
        yield texts[start : start + CHUNK]
        done = min(start + CHUNK, len(texts))
        report(TrainingProgress("embedding", done, len(texts), seconds=time.monotonic() - started))


def train(work: Path, report: ProgressReport, stop: Stop) -> None:
    """Do the job in ``work``. Raises NextlabelError."""
    run_job(work, TrainingJob.load(work), report, stop)


def main(argv: list[str], do: Callable[[Path, ProgressReport, Stop], None] = train, word: str = "training") -> int:
    """``WORK LOCK PARENT``: the folder, the descriptor that holds its lock, and the process to end with.

    ``do`` does what is left to do in the folder; ``word`` names it in messages.
    """
    work, lock, parent = Path(argv[0]), int(argv[1]), int(argv[2])
    os.set_inheritable(lock, False)  # what we start may outlive us, and must not hold it
    os.nice(NICE)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        with readable_errors(work):
            do(work, ProgressFile(work / PROGRESS), stopped.is_set)
    except TrainingCancelled as cancelled:
        return _failed(work, str(cancelled), CANCELLED)
    except NextlabelError as error:
        return _failed(work, str(error), FAILED)
    except MemoryError:
        return _failed(work, "memory ran out; take a smaller encoder, or free some", FAILED)
    except Exception as error:
        if any(sign in str(error) for sign in _NO_SPACE):
            return _failed(work, f"no space is left for the {word} in {work}; free some and resume it", FAILED)
        # A defect, ours or a library's.
        traceback.print_exc()
        return _failed(work, f"{type(error).__name__}: {error}; see {work / 'worker.log'}", FAILED)
    return 0


def _failed(work: Path, reason: str, status: int) -> int:
    sys.stderr.write(reason + "\n")  # the log, which the parent reads where there is no room for another file
    with contextlib.suppress(OSError):
        (work / ERROR).write_text(reason + "\n", encoding="utf-8")
    return status


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.killpg(os.getpgid(0), signal.SIGKILL)  # and with us what we have started; nothing half-done counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
