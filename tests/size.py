"""How long those tests are that may be of any length, by NEXTLABEL_TESTS: ``fast``, ``all``, or neither.

``make test-fast`` sets the one and ``make test-all`` the other; nothing but a count depends on it. ``make test-docker``
sets ``docker``, for the tests that need an engine, which are not collected otherwise.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
SIZE = os.environ.get("NEXTLABEL_TESTS", "")
assert SIZE in ("", "fast", "all", "docker"), f"NEXTLABEL_TESTS is {SIZE!r}: fast, all, docker, or not set"


def both_in_long(usual: T, other: T) -> list[T]:
    """For a test that takes long on each of two platforms, models, stores: ``other`` only at full length."""
    return [usual, other] if SIZE == "all" else [usual]


def count(usual: int, *, fast: int | None = None, long: int | None = None, name: str = "") -> int:
    """So many examples, kills, answers. The environment variable ``name`` has the last word, where one is given."""
    chosen = {"fast": fast, "all": long}.get(SIZE)
    return int(os.environ.get(name) or (usual if chosen is None else chosen))
