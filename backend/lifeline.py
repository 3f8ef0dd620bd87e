"""A process of our own ends with the one that started it, however that ended: nobody waits for its work any more."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_S = 1.0
"""Seconds between two looks whether the parent is still there."""


def end_with(parent: int) -> None:
    """Kill this process once the process ``parent``, which started it, is gone; and with it all that it started.

    The latter where it leads a group of its own. Nothing half-done may count, so nothing is put in order.
    """
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    (os.killpg if os.getpgid(0) == os.getpid() else os.kill)(os.getpid(), signal.SIGKILL)
