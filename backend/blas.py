"""One BLAS thread for many small products: more would wait for each other longer than they work.

Measured on two cores: fits take 1.6 to 13 times longer with two threads, and on a busy machine, where a thread spins
for one that has no core, scoring a pool takes 5 times longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the process to one BLAS thread. Threads may be inside together: the first one in sets and lifts it."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    # Looking through the loaded libraries takes milliseconds; numpy's BLAS, the one that matters, is there by now.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
