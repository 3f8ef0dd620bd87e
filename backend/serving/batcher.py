"""The micro-batcher: many small requests, few forward passes, and nobody waits behind somebody's thousand texts."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import ConfigError, Overloaded

Encode: TypeAlias = Callable[[list[Any]], npt.NDArray[Any]]
"""Texts (or whatever has a length) to an array with one row per text."""

MAX_BATCH = 16
MAX_WAITING = 20_000

_Outcome: TypeAlias = tuple["asyncio.Future[npt.NDArray[Any]]", npt.NDArray[Any] | Exception]

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Request:
    """What one ``submit`` waits for. ``order`` holds the places of its texts not yet taken, the next one last."""

    texts: list[Sized]
    order: list[int]
    encode: Encode
    future: asyncio.Future[npt.NDArray[Any]]
    rows: npt.NDArray[Any] | None = None
    left: int = 0
    taken: list[int] = field(default_factory=list)  # places in the pass that is running

    def fill(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Take the rows of a pass; return all rows once there is none left to come."""
        if self.rows is None:
            self.rows = np.empty((len(self.texts), *rows.shape[1:]), dtype=rows.dtype)
        self.rows[self.taken] = rows
        self.left -= len(self.taken)
        self.taken = []
        return self.rows if self.left == 0 else None


class MicroBatcher:
    """Joins the requests that wait into forward passes on one worker thread.

    ``encode`` gets up to ``max_batch`` texts a pass. The waiting requests take turns, one text a turn, so a small
    request never waits for all of a large one. An idle worker starts at once: nothing ever waits for company.
    Texts of one request go in order of length, so that those in a pass are alike.

    A request may bring its own function, and has to where the batcher was made without one. It keeps it whatever comes
    after: a new model is put in place of the old one by submitting with the new one's function from then on. What
    waits is still answered by the old one, and no pass has texts of both.

    Where ``encode`` raises for a pass of several requests, each is tried alone, and only those that fail get
    the error. More than ``max_waiting`` texts are refused with Overloaded, unless nothing else waits.

    ``start`` and ``stop`` may be called from any thread, ``submit`` from any event loop. ``name`` is the worker's.
    """

    def __init__(
        self,
        encode: Encode | None = None,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        name: str = "forward",
    ) -> None:
        if max_batch < 1 or max_waiting < 1:
            raise ConfigError(f"max_batch ({max_batch}) and max_waiting ({max_waiting}) must be 1 or more")
        self._encode, self._name = encode, name
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._requests: deque[_Request] = deque()
        self._waiting = 0  # texts not yet in a pass
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running = False

    @property
    def running(self) -> bool:
        """Whether requests are taken."""
        return self._running

    @property
    def waiting(self) -> int:
        """Texts that wait for a pass."""
        return self._waiting

    def start(self) -> None:
        """Start the worker. Does nothing if it runs."""
        with self._changed:
            if self._running:
                return
            self._running = True
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Finish the running pass, in ``timeout`` seconds; whether it has ended. Does nothing if it doesn't run.

        Whatever still waits gets Overloaded.
        """
        with self._changed:
            self._running = False
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    async def submit(self, texts: Sequence[Sized], encode: Encode | None = None) -> npt.NDArray[Any]:
        """One row per text, in order, all by ``encode``, or by the function that the batcher was made with.

        Raises Overloaded, or what ``encode`` raised for these texts.
        """
        chosen = encode or self._encode
        if chosen is None:
            raise ValueError("this batcher has no function of its own; bring one")
        future: asyncio.Future[npt.NDArray[Any]] = asyncio.get_running_loop().create_future()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        request = _Request(list(texts), order, chosen, future, left=len(texts))
        with self._changed:
            if not self._running:
                raise Overloaded("the service is starting or stopping; try again in a moment")
            if self._waiting and self._waiting + len(texts) > self._max_waiting:
                raise Overloaded(f"{self._waiting} texts are waiting already; try again later or send fewer at a time")
            self._requests.append(request)
            self._waiting += len(texts)
            self._changed.notify()
        return await future

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._running and not self._requests:
                    self._changed.wait()
                if not self._running:
                    break
                batch = self._next_pass()
            if batch:
                self._run(batch)
                del batch  # and with it the encoder that it names, which may be one left behind
        with self._changed:
            left = list(self._requests)
            self._requests.clear()
            self._waiting = 0
        _resolve([(one.future, Overloaded("the service is stopping; try again in a moment")) for one in left])

    def _next_pass(self) -> list[_Request]:
        """Choose the texts of the next pass: one of each request in turn until it is full.

        Who came first says which function encodes; requests for another one keep their places.
        """
        batch: dict[int, _Request] = {}
        passed_over: list[_Request] = []
        encode: Encode | None = None
        room = self._max_batch
        while room and self._requests:
            request = self._requests.popleft()
            if request.future.cancelled():
                self._waiting -= len(request.order)
                continue
            if encode is None:
                encode = request.encode
            elif request.encode != encode:  # two bound methods of one object are equal, and not the same
                passed_over.append(request)
                continue
            batch[id(request)] = request
            if request.order:
                request.taken.append(request.order.pop())
                self._waiting -= 1
                room -= 1
            if request.order:
                self._requests.append(request)
        self._requests.extendleft(reversed(passed_over))
        return list(batch.values())

    def _run(self, batch: list[_Request]) -> None:
        texts = [request.texts[place] for request in batch for place in request.taken]
        try:
            rows = _checked(batch[0].encode, texts)
        except Exception as error:
            if len(batch) > 1:
                log.warning("a forward pass for %d requests failed, trying each alone: %r", len(batch), error)
                for request in batch:
                    self._run([request])
            else:
                self._drop(batch[0])
                _resolve([(batch[0].future, error)])
            return
        done: list[_Outcome] = []
        start = 0
        for request in batch:
            stop = start + len(request.taken)
            if (complete := request.fill(rows[start:stop])) is not None:
                done.append((request.future, complete))
            start = stop
        _resolve(done)

    def _drop(self, request: _Request) -> None:
        with self._changed:
            self._waiting -= len(request.order)
            request.order.clear()
            if request in self._requests:
                self._requests.remove(request)


def _checked(encode: Encode, texts: list[Sized]) -> npt.NDArray[Any]:
    rows = np.asarray(encode(texts))
    if len(rows) != len(texts):
        raise ValueError(f"{len(texts)} texts gave {len(rows)} rows")
    return rows


def _resolve(outcomes: list[_Outcome]) -> None:
    """Hand the outcomes to the loops that wait for them: each loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].get_loop(), []).append(outcome)
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, theirs)
        except RuntimeError:  # a loop that was closed wants nothing any more
            log.debug("an event loop was closed before its answer")


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, outcome in outcomes:
        if future.done():  # the caller left
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
