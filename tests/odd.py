"""JSON as nobody documents it: bodies with a field missing, null, or of another type."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

ABSENT = object()
ODD: tuple[Any, ...] = (
    ABSENT,
    None,
    True,
    0,
    -1,
    3.5,
    2**70,
    float("nan"),
    "",
    "odd",
    "\ud800",
    "a\0b",
    [],
    [None],
    ["odd", 3],
    {},
    {"odd": None},
)
"""What stands in place of a field's value."""

Path = tuple[str | int, ...]


def places(body: Any, path: Path = ()) -> Iterator[Path]:
    """The way to every part of ``body``, but not to the whole."""
    if isinstance(body, (dict, list)):
        for key, value in body.items() if isinstance(body, dict) else enumerate(body):
            yield (*path, key)
            yield from places(value, (*path, key))


def changed(body: Any, path: Path, value: Any) -> Any:
    """A copy of ``body`` with ``value`` at ``path``, or without what was there. As it is where the way is gone."""
    made = holder = copy.deepcopy(body)
    *way, last = path
    try:
        for key in way:
            holder = holder[key]
        if value is ABSENT:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(value)
    except (KeyError, IndexError, TypeError):
        return made
    return made


def oddities(body: Any, count: int, keep: frozenset[Path] = frozenset()) -> Iterator[Any]:
    """``count`` odd copies of ``body``: first each change of one part, then two at a time. ``keep``: what stays."""
    rng = random.Random(0)
    changes = [(path, value) for path in places(body) if path not in keep for value in ODD]
    single = (changed(body, *change) for change in changes)
    pairs = (changed(changed(body, *rng.choice(changes)), *rng.choice(changes)) for _ in itertools.count())
    yield from itertools.islice(itertools.chain(single, pairs), count)
