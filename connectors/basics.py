"""What every room needs: a stream cut into pieces, and time that passes whatever is done to the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Json: TypeAlias = dict[str, Any]
"""A JSON object."""

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut ``items`` into tuples of ``size``, the last one shorter; reads no further than it has to.

    What itertools.batched does from Python 3.12 on.
    """
    source = iter(items)
    while batch := tuple(islice(source, size)):
        yield batch


def weighed(items: Iterable[T], weight: Callable[[T], int], limit: int, most: int | None = None) -> Iterator[list[T]]:
    """Cut ``items`` into lists that weigh no more than ``limit``, of no more than ``most``; at least one in each."""
    batch: list[T] = []
    total = 0
    for item in items:
        cost = weight(item)
        if batch and (len(batch) == most or total + cost > limit):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += cost
    if batch:
        yield batch


def elapsed() -> float:
    """Seconds since some moment on a clock that only runs forward, and that nobody sets.

    The time that the machine slept is counted where the system tells it.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
