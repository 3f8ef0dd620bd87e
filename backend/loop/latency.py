"""How long labels wait for the queue that counts them, over a sliding window."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

WINDOW = 2000
"""Labels looked back on."""


class LabelLatency:
    """Seconds from a label's arrival to the publication of the first generation that has seen it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, float]] = deque()
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()

    def arrived(self, log_seq: int) -> None:
        """A label was logged as ``log_seq``, now."""
        with self._lock:
            self._waiting.append((log_seq, time.monotonic()))

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
