"""How long labels wait for the queue that counts them, over a sliding window."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

import numpy as np

WINDOW = 2000
"""Labels looked back on."""
QUIET = 2.0
"""Seconds without a label after which nobody is taken to be labelling: time for work that would slow the platform."""


class LabelLatency:
    """Seconds from a label's arrival to the publication of the first generation that has seen it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, float]] = deque()
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._last = -math.inf
        self._lock = threading.Lock()

    def arrived(self, log_seq: int, heard_at: float | None = None) -> None:
        """A label was logged as ``log_seq``; we first heard of it at ``heard_at`` (monotonic clock), or now."""
        with self._lock:
            self._last = time.monotonic()
            self._waiting.append((log_seq, self._last if heard_at is None else heard_at))

    def quiet_in(self) -> float:
        """Seconds until nobody has labelled for ``QUIET`` seconds; 0 if it is quiet."""
        return max(0.0, self._last + QUIET - time.monotonic())

    def published(self, log_seq: int) -> list[float]:
        """A generation that has seen the log up to ``log_seq`` is in force, now. Returns the waits that ended."""
        now = time.monotonic()
        ended = []
        with self._lock:
            while self._waiting and self._waiting[0][0] <= log_seq:
                ended.append(now - self._waiting.popleft()[1])
            self._seconds.extend(ended)
        return ended

    def quantiles(self) -> tuple[float, float] | None:
        """Median and 95th percentile in seconds, None before the first."""
        with self._lock:
            seconds = list(self._seconds)
        if not seconds:
            return None
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        return float(p50), float(p95)
