"""What a start is doing: bars on a terminal, a line each where there is none."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .common import bars, say

if TYPE_CHECKING:
    from nextlabel.backend.service.ports import Status

EVERY_S = 0.2
STAGES = {
    "embedding": "encoding the records",
    "pushing": "pushing the records",
    "learning": "fitting the first model, and ranking",
}
"""What people read of the states in which a service makes its first queue."""


class StartProgress:
    """Shows one stage after the other. A context: at its end the bars are gone."""

    def __init__(self) -> None:
        self._bars = bars()
        self._terminal = self._bars.console.is_terminal
        self._stage = ""
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []

    def __enter__(self) -> Self:
        if self._terminal:
            before = sys.stderr
            self._bars.start()
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                    self._streams.append((handler, handler.setStream(sys.stderr)))  # lines go above the bars
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bars away. May be called twice."""
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._streams = []
        if self._terminal:
            self._bars.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Without bars while the block runs: somebody is asked."""
        if self._terminal:
            self._bars.stop()
        yield
        if self._terminal:
            self._bars.start()

    def show(self, stage: str, done: int = 0, total: int = 0) -> None:
        """``stage`` is done now: ``done`` of ``total``, which is 0 where nobody knows."""
        news, self._stage = stage != self._stage, stage
        if not self._terminal:
            if news:
                say(f"{stage}: {total:,}" if total else stage)
            return
        if news:
            self._bars.add_task(stage, total=None)
        self._bars.update(self._bars.task_ids[-1], completed=done, total=total or None)


class FirstQueue(threading.Thread):
    """Shows what a service does until its first queue stands, then calls ``ready``. ``status`` asks how it is doing."""

    def __init__(self, status: Callable[[], Status], progress: StartProgress, ready: Callable[[Status], None]) -> None:
        super().__init__(name="first queue", daemon=True)
        self._status, self._progress, self._ready = status, progress, ready
        self._ended = threading.Event()

    def run(self) -> None:
        """Ask until there is a queue, or nothing to wait for."""
        while not self._ended.wait(EVERY_S):
            status = self._status()
            if status.generation or status.state == "standing by":
                self._progress.close()
                if status.leader:
                    self._ready(status)
                return
            if (stage := STAGES.get(status.state)) is not None:
                self._progress.show(stage, status.done, status.total)

    def stop(self) -> None:
        """Leave off. What is being asked just now may still take a moment, and nobody waits for it."""
        self._ended.set()
        self.join(2 * EVERY_S)
        self._progress.close()
