"""How a command ends that is told to: in order where that is quick, and in time whatever it is doing.

All that is durable survives a kill at any moment (tests/crash), so nothing is lost by a process that leaves in the
middle of its work. A signal's handler runs only between two steps of Python in the main thread, which may be deep in a
library just then; hence a thread that hears of the signal at once, and ends the process when the time is over.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

LIMITS: Final = {signal.SIGINT: 1.7, signal.SIGTERM: 9.0}
"""Seconds from the signal until the process leaves what it is doing. Two and ten seconds are promised."""
INTERRUPTED: Final = 130
TERMINATED: Final = 143
CODES: Final = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: 0}
QUICK_S: Final = 0.2
"""Who ends sooner than this needs no words."""
LAST_S: Final = 0.2
"""How long what is done at the very last may take."""
UNASKED_S: Final = 30.0
"""How long work in progress may take to end where nobody sent a signal."""


class Ending:
    """What is known of the end, and ``at_last``: what is done before the process leaves in the middle of its work.

    ``words``: what is said if that takes a moment. ``codes``: exit codes by signal; SIGTERM is no failure of a service.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.at_last: Callable[[], object] = lambda: None
        self.words = "ending; what is not finished goes on at the next start"
        self.codes = dict(CODES)
        self._deadline = 0.0
        self._raised = False

    def left_s(self) -> float:
        """Seconds that there are for an end in order."""
        return max(0.0, self._deadline - LAST_S - time.monotonic()) if self.signal else UNASKED_S

    def leave(self) -> NoReturn:
        """End the process now, without waiting for any thread of it."""
        last = threading.Thread(target=self._finally, daemon=True)
        last.start()
        last.join(LAST_S)
        leave(self.codes[self.signal or signal.SIGINT])

    def _finally(self) -> None:
        with contextlib.suppress(Exception):  # there is nobody left to tell
            self.at_last()

    def hear(self, number: int) -> None:
        """Take in a signal, in whichever thread is faster. The first one counts."""
        if self.signal is None:
            self._deadline = time.monotonic() + LIMITS[signal.Signals(number)]
            self.signal = signal.Signals(number)

    def unwind(self, number: int, frame: FrameType | None) -> None:
        """The handler: unwinds the main thread, once. What is being put in order must not be interrupted again."""
        self.hear(number)
        if self._raised:
            return
        self._raised = True
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(self.codes[signal.SIGTERM])

    def watch(self, ears: int) -> None:
        """Hear of the first signal at ``ears``, and leave when its time is over; or return when the command ended."""
        number = 0
        while number not in LIMITS:
            if not (heard := os.read(ears, 1)):
                return
            number = heard[0]
        self.hear(number)
        if _stays_open(ears, QUICK_S):
            sys.stderr.write(f"\n{self.words}\n")
            if _stays_open(ears, self._deadline - time.monotonic()):
                self.leave()


def leave(code: int) -> NoReturn:
    """End the process now: no thread is waited for, and nothing is taken down."""
    if sys.stderr.isatty():
        sys.stderr.write("\033[?25h")  # progress bars hide the cursor
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _stays_open(ears: int, seconds: float) -> bool:
    """Whether the other end of ``ears`` stays open for so long; signals that are repeated don't count."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([ears], [], [], left)[0] and not os.read(ears, 1):
            return False
    return True


@contextmanager
def ends_in_time() -> Iterator[Ending]:
    """While the block runs, Ctrl-C ends the command within two seconds, and SIGTERM within ten.

    Both unwind the main thread, by KeyboardInterrupt or SystemExit. For the main thread only.
    """
    ending = Ending()
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    handlers = {number: signal.signal(number, ending.unwind) for number in LIMITS}
    other = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    watcher = threading.Thread(target=ending.watch, args=(ears,), name="nextlabel-ending", daemon=True)
    watcher.start()
    try:
        yield ending
    finally:
        signal.set_wakeup_fd(other)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(mouth)
        watcher.join()
        os.close(ears)


def _deaf() -> None:
    """A process that was forked off has our pipe, and its signals are not ours."""
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_deaf)
