"""What a service's status is waited for to say."""

from __future__ import annotations

from collections.abc import Callable

from nextlabel.backend.stack.backend import Status


def past(name: str, head: int) -> Callable[[Status], bool]:
    """Whether the figure ``name`` is greater."""
    return lambda status: bool(status[name] > head)


def at(name: str, number: int) -> Callable[[Status], bool]:
    """Whether the figure ``name`` is that."""
    return lambda status: bool(status[name] == number)
