"""What a platform refuses of what it is sent, or fails to show, in batches, narrowed down to single items.

All others get through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from nextlabel.connectors.errors import PlatformError, PlatformUnavailable, RecordsRejected

R = TypeVar("R")
T = TypeVar("T")

REFUSALS = 50
"""Refused items after which the rest of a batch is not tried, if hardly any was taken."""
HOPELESS = 3
"""Batches left off like that after which no more are tried: something is wrong with all of them."""
NAMED = 5
"""Refused records that an error names."""
REFUSING = (400, 409, 413, 422)
"""What a platform answers that will not have what it was sent. With other answers the items have nothing to do."""


class Narrowing:
    """Sends items in batches; a batch that is refused goes in halves. ``refused``: key of an item -> why.

    ``gave_up``: some were not tried, because hardly any is taken.
    """

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.gave_up = False
        self._hopeless = 0

    def send(self, batch: Mapping[str, T], send: Callable[[Mapping[str, T]], None]) -> None:
        """``send`` the ``batch`` without what it raises PlatformError for. Raises other errors.

        The largest parts first: of a batch that is refused in many places, most is there soon.
        """
        if self._hopeless >= HOPELESS:
            self.gave_up |= bool(batch)
            return
        parts = deque([batch] if batch else [])
        accepted = refused = 0
        while parts:
            part = parts.popleft()
            try:
                send(part)
                accepted += len(part)
            except PlatformError as error:
                if error.status not in REFUSING:
                    raise
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [dict(islice(part.items(), middle)), dict(islice(part.items(), middle, None))]
                    continue
                self.refused |= dict.fromkeys(part, error.body or str(error))
                refused += 1
                if refused >= REFUSALS and refused > 10 * accepted:
                    self._hopeless += 1
                    self.gave_up |= bool(parts)
                    return


def rejected(refused: Mapping[str, str], found: Mapping[str, str], sent: int) -> RecordsRejected:
    """The end of a push of ``sent`` records. ``refused``: uid -> why; ``found``: uid -> id of those that are there."""
    left = sent - len(found) - len(refused)
    named = "; ".join(f"{uid!r}: {why}" for uid, why in islice(refused.items(), NAMED))
    rest = f"then {left} were not tried" if left else "all others are stored"
    return RecordsRejected(
        f"{len(refused)} of {sent} records can't be stored, {rest}. {named}",
        sent=sent,
        stored=len(found),
        refused=refused,
        found=found,
    )


def read_apart(
    items: Sequence[T],
    read: Callable[[Sequence[T]], Sequence[R]],
    lost: Callable[[T, PlatformError | PlatformUnavailable], R],
    fails: Callable[[PlatformError | PlatformUnavailable], bool],
) -> list[R]:
    """What ``read`` finds of ``items``, and what stands for those that are ``lost``: it fails for each of them alone.

    ``fails``: whether an error is of that kind. Raises all others.
    """
    try:
        return list(read(items))
    except (PlatformError, PlatformUnavailable) as error:
        if not fails(error):
            raise
        if len(items) == 1:
            return [lost(items[0], error)]
    middle = len(items) // 2
    return [*read_apart(items[:middle], read, lost, fails), *read_apart(items[middle:], read, lost, fails)]
