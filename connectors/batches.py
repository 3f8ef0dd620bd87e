"""Cutting a stream into pieces that fit in memory: what itertools.batched does from Python 3.12 on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut ``items`` into tuples of ``size``, the last one shorter; reads no further than it has to."""
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
