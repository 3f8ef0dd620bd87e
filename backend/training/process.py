"""The parent's side of a training: a worker process that is started, watched, stopped and resumed. Without torch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, Self

from nextlabel.backend.encoders.base import BESIDE_OTHERS, usable_cores
from nextlabel.connectors.errors import LearningError

from .jobs import JOB_FILE, MODEL, PREDICTIONS, Job, job_type, readable_errors
from .spec import TrainingProgress

WORKER = "nextlabel.backend.training.worker"
PROGRESS, ERROR, LOG, LOCK = "progress.json", "error.txt", "worker.log", "lock"
LOCK_WAIT_S = 10.0  # a worker whose parent has died ends within a second or two
LOG_LINES = 15


class TrainingProcess:
    """A job in a process of its own, in the folder ``work``.

    The job's RESULT appears by one rename, after all else is there too. The worker ends when its parent does. One
    process may work in a folder at a time.
    """

    def __init__(self, work: Path, job: type[Job], process: subprocess.Popen[bytes] | None) -> None:
        self.work = work
        self._job = job
        self._process = process
        self._cancelled = False

    @classmethod
    def start(cls, work: Path, job: Job) -> Self:
        """Write ``job`` into ``work`` and start a worker on it.

        Raises LearningError if there is a job in the folder already or another process works there, StoreFull and
        StoreError if the folder can't be written to.
        """
        with readable_errors(work):
            work.mkdir(parents=True, exist_ok=True)
        if (work / JOB_FILE).exists():
            raise LearningError(f"{work} holds a training already; resume it, or give this one a folder of its own")
        lock = _locked(work, 0)
        try:
            job.save(work)
            return cls(work, type(job), _spawn(work, lock))
        finally:
            os.close(lock)

    @classmethod
    def resume(cls, work: Path) -> Self:
        """Go on with the job in ``work`` from its last checkpoint; nothing is started if it is done.

        Raises LearningError if there is no job, or another process works on it; else as ``start``.
        """
        if not (work / JOB_FILE).is_file():
            raise LearningError(f"{work} holds no training to go on with; start one")
        job = job_type(work)
        lock = _locked(work, LOCK_WAIT_S)
        try:
            return cls(work, job, None if (work / job.RESULT).exists() else _spawn(work, lock))
        finally:
            os.close(lock)

    @property
    def model(self) -> Path:
        """Where the trained model is, once ``poll`` says ``done``."""
        return self.work / MODEL

    @property
    def predictions(self) -> Path:
        """safetensors: ``probabilities`` float32 [n, c] of the job's ``predict`` texts, once it is done."""
        return self.work / PREDICTIONS

    @property
    def pid(self) -> int | None:
        """The worker's process id, which is its group's too; None if nothing was started."""
        return None if self._process is None else self._process.pid

    def progress(self) -> TrainingProgress | None:
        """The last report; None before the first."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return TrainingProgress(**json.loads((self.work / PROGRESS).read_bytes()))
        return None

    def poll(self) -> Literal["running", "done", "failed"]:
        """How it stands. Never waits."""
        if self._process is not None and self._process.poll() is None:
            return "running"
        return "done" if (self.work / self._job.RESULT).exists() else "failed"

    @property
    def killed(self) -> bool:
        """Whether something from outside ended it by a signal, so that resuming it makes sense."""
        status = self._process.returncode if self._process is not None else None
        return self.poll() == "failed" and not self._cancelled and status is not None and status < 0

    @property
    def error(self) -> str:
        """Why it failed, in words for a person; empty while it runs and when it is done."""
        if self.poll() != "failed":
            return ""
        if self._cancelled:
            return f"the {self._job.WORD} was cancelled"
        with contextlib.suppress(OSError):
            return (self.work / ERROR).read_text(encoding="utf-8").strip()
        status = self._process.returncode if self._process is not None else None
        if status is not None and status < 0:
            ended = f"was killed by {signal.Signals(-status).name}" + (
                ", as the system does where memory runs out" if -status == signal.SIGKILL else ""
            )
        else:
            ended = f"ended with status {status}"
        return f"the {self._job.WORD} {ended}; its log {self.work / LOG}:\n{_tail(self.work / LOG)}"

    def cancel(self, grace_s: float = 10) -> None:
        """End it: ask, and kill what has not ended after ``grace_s`` seconds. Quiet if it has ended. Resumable."""
        if self._process is None or self._process.poll() is not None:
            return
        self._cancelled = True
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                # To all at the end only: a process that the worker started would take what is meant for the worker.
                if sign == signal.SIGTERM:
                    self._process.terminate()
                else:
                    os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)


def _spawn(work: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start a worker that takes over the lock."""
    for name in (ERROR, PROGRESS):
        (work / name).unlink(missing_ok=True)
    threads = str(max(1, usable_cores() - 1))  # one is left to the service
    env = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} | BESIDE_OTHERS
    with readable_errors(work), (work / LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", WORKER, str(work), str(lock), str(os.getpid())],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )


def _locked(work: Path, patience_s: float) -> int:
    """A descriptor that holds the folder's lock; who inherits it holds it too, which filelock has no way to say."""
    with readable_errors(work):
        handle = os.open(work / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                raise LearningError(f"another process is training in {work}; wait for it, or stop it") from None
            time.sleep(0.1)


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])
    return "(no log)"
