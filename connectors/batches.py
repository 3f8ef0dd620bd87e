"""Cutting a stream into pieces that fit in memory: what itertools.batched does from Python 3.12 on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut ``items`` into tuples of ``size``, the last one shorter; reads no further than it has to."""
    source = iter(items)
    while batch := tuple(islice(source, size)):
        yield batch
