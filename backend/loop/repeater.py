"""A thread that does one thing again and again, sleeps in between, and survives every failure of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from nextlabel.connectors.errors import NextlabelError

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 30.0
"""Seconds. After repeated failures the pauses double up to this."""


class Repeater:
    """Calls ``tick`` until stopped. ``tick`` returns how many seconds it may sleep; ``wake`` cuts the sleep short.

    A failure is reported through ``on_error`` ("" once it is over) and tried again after 0.5, 1, 2, ... 30 s:
    what ``tick`` does has to be level-triggered, so that trying again is all the recovery there is.
    """

    def __init__(self, name: str, tick: Callable[[], float], on_error: Callable[[str], None]) -> None:
        self._name = name
        self._tick = tick
        self._on_error = on_error
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"nextlabel-{name}", daemon=True)

    def start(self) -> None:
        """Begin. A repeater is started once."""
        self._thread.start()

    def wake(self) -> None:
        """Run the next tick now."""
        self._wake.set()

    def stop(self, timeout: float = 30.0) -> None:
        """Let the tick in progress end, then return. Safe to call twice, and before start."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def stopping(self) -> bool:
        """Whether stop was called: long work inside a tick looks at it between its steps."""
        return self._stop.is_set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()  # before the tick: what arrives during it makes the next one run at once
            pause = self._once()
            if pause > 0:
                self._wake.wait(pause)

    def _once(self) -> float:
        try:
            pause = self._tick()
        except NextlabelError as error:
            log.warning("tick failed", thread=self._name, error=str(error), kind=type(error).__name__)
            return self._failed(f"{type(error).__name__}: {error}")
        except Exception as error:  # a defect of ours: it must be seen, and must not end the loop
            log.exception("tick failed unexpectedly", thread=self._name)
            return self._failed(f"unexpected {type(error).__name__}: {error}")
        if self._failures:
            self._failures = 0
            self._on_error("")
        return pause

    def _failed(self, message: str) -> float:
        pause = min(LONGEST_PAUSE, 0.5 * 2**self._failures)
        self._failures += 1
        self._on_error(message)
        # A wake-up is no reason to hammer a platform that is down: sleep the pause whole, unless told to stop.
        self._stop.wait(pause)
        return 0.0
