"""Time that passes, whatever is done to the time of day."""

from __future__ import annotations

import time

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def elapsed() -> float:
    """Seconds since some moment on a clock that only runs forward, and that nobody sets.

    The time that the machine slept is counted where the system tells it.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
