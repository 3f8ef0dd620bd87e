"""Suggesters are asked about every record, beside the loop: one that is slow or away holds up nobody.

What they say is kept in the store, so that nobody is asked twice. The loop takes it from here: all at once where the
asking is over, and now and then while it goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog

from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.pool.voices import proposals_of
from nextlabel.backend.questions import Proposal, Weights
from nextlabel.backend.store import Store, StoredRecord
from nextlabel.backend.suggesters import Suggester, content_keys

log = structlog.get_logger(__name__)

BATCH = 512
"""Records looked at together: what the store has of them is one question to it."""
FIRST_WAIT_S = 60.0
"""Seconds that the first queue waits for suggesters at most; then it is made of what they have said."""
EVERY_S = 30.0
"""Seconds between two times that the loop takes in what was said, while the asking goes on."""
RETRY_S = (5.0, 15.0, 60.0)
"""Seconds until a suggester that failed is asked again, the last of them again and again."""


@dataclass(slots=True)
class _Turn:
    """How far one suggester is: asked about all records up to the position ``at``, and about ``again`` once more."""

    suggester: Suggester
    at: int = -1
    again: set[str] = field(default_factory=set)
    trouble: str = ""
    failures: int = 0
    not_before: float = 0.0
    over: bool = False


class Suggesting:
    """The suggesters of one project. ``tick`` belongs to a thread of its own, the rest may be called from any."""

    def __init__(self, store: Store, suggesters: Sequence[Suggester], stopping: Callable[[], bool]) -> None:
        self._store, self._stopping = store, stopping
        self._turns = [_Turn(one) for one in suggesters]
        self._found: deque[str] = deque()
        self._said: deque[tuple[str, list[int], list[Proposal | None]]] = deque()
        self._started: float | None = None
        self._taken = time.monotonic()

    @property
    def names(self) -> list[str]:
        """Of the suggesters, in the order of the recipe."""
        return [turn.suggester.name for turn in self._turns]

    def found(self, uids: Iterable[str]) -> None:
        """These records are otherwise now: they may read otherwise, too."""
        if self._turns:
            self._found.extend(uids)

    # -- asking ------------------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """Ask each suggester that is not in trouble about some records. Returns seconds until there may be more."""
        again = {self._found.popleft() for _ in range(len(self._found))}
        for turn in self._turns:
            turn.again |= again
        now = time.monotonic()
        more = [self._ask(turn) for turn in self._turns if turn.not_before <= now and not self._stopping()]
        return 0.0 if any(more) else 1.0

    def _ask(self, turn: _Turn) -> bool:
        """Ask about the next records; whether there may be more."""
        again = list(islice(turn.again, BATCH))
        batch = self._store.get(again) if again else list(islice(self._store.records(after=turn.at), BATCH))
        if not batch and not again:
            turn.over = True
            return False
        turn.over = False
        try:
            for some in self._answered(turn.suggester, batch):
                self._said.append((turn.suggester.name, *some))
        except Exception as error:  # whatever a model of others raises: the loop goes on without it
            self._failed(turn, error)
            return False
        turn.trouble, turn.failures = "", 0
        turn.again.difference_update(again)
        if not again:
            turn.at = batch[-1].position
        return True

    def _answered(
        self, one: Suggester, batch: Sequence[StoredRecord]
    ) -> Iterator[tuple[list[int], list[Proposal | None]]]:
        """What is said of the records, a part at a time, each kept in the store before it is told."""
        batch = [item for item in batch if not item.gone]
        keys = content_keys(one.labeling, [item.record for item in batch])
        known = proposals_of(self._store, one.key, keys)
        new = {key: item for key, item in zip(keys, batch, strict=True) if key not in known}
        positions: dict[str, list[int]] = {}
        for key, item in zip(keys, batch, strict=True):
            positions.setdefault(key, []).append(item.position)
        if known:
            yield _placed(known, positions)
        waiting = iter(new.items())
        while (some := dict(islice(waiting, one.batch))) and not self._stopping():
            said = dict(zip(some, one.propose([item.record for item in some.values()]), strict=True))
            self._store.note_proposals(one.key, {key: None if p is None else p.to_json() for key, p in said.items()})
            yield _placed(said, positions)

    def _failed(self, turn: _Turn, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if reason != turn.trouble:
            log.warning("a suggester fails; the loop goes on without it", suggester=turn.suggester.name, reason=reason)
        pause = RETRY_S[min(turn.failures, len(RETRY_S) - 1)]
        turn.trouble, turn.failures, turn.not_before = reason, turn.failures + 1, time.monotonic() + pause

    # -- the loop's side ---------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anybody is still to be asked who is not in trouble."""
        return any(not turn.over and not turn.trouble for turn in self._turns)

    def progress(self, records: int) -> tuple[int, int]:
        """How many times one has been asked about one of so many ``records``, and how many times that will be."""
        return sum(min(turn.at + 1, records) for turn in self._turns), records * len(self._turns)

    def holds_up(self) -> bool:
        """Whether a first queue should wait a moment longer."""
        if not self.is_busy:
            return False
        self._started = time.monotonic() if self._started is None else self._started
        return time.monotonic() < self._started + FIRST_WAIT_S

    def tell(self, pool: PoolState, *, now: bool = False) -> bool:
        """Take into ``pool`` what was said since; whether there was anything. While much is asked, seldom."""
        if not self._said or (self.is_busy and not now and time.monotonic() < self._taken + EVERY_S):
            return False
        for _ in range(len(self._said)):
            pool.note_proposals(*self._said.popleft())
        self._taken = time.monotonic()
        return True

    def again(self) -> None:
        """Another process led meanwhile: what it learned is in the store, and is read anew."""
        for turn in self._turns:
            turn.at, turn.over = -1, False

    @property
    def trouble(self) -> str:
        """What fails, in a sentence; "" if nothing does."""
        return "; ".join(f"suggest_from: {turn.suggester.name}: {turn.trouble}" for turn in self._turns if turn.trouble)

    def status(self, found: Mapping[str, dict[str, Any]], weights: Weights | None) -> list[dict[str, Any]]:
        """Of each suggester its ``name``, ``source``, figures as ``found``, ``weight`` beside the head, ``trouble``.

        ``foreign``: labels that it says and that stand for none of ours.
        """
        return [
            {
                "name": one.name,
                "source": one.source,
                **found.get(one.name, {}),
                "weight": None if weights is None else weights.voices.get(one.name),
                "trouble": turn.trouble,
                "foreign": sorted(one.foreign),
            }
            for turn in self._turns
            for one in [turn.suggester]
        ]


def _placed(
    said: Mapping[str, Proposal | None], positions: Mapping[str, list[int]]
) -> tuple[list[int], list[Proposal | None]]:
    """What is said of contents as what is said of records."""
    pairs = [(at, said[key]) for key in said for at in positions[key]]
    return [at for at, _ in pairs], [one for _, one in pairs]
