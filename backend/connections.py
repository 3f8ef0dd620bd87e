"""Connections that end by themselves, and never more of them than the process has files for.

uvicorn ends a connection that is silent between two requests. It waits for ever for one that never sends a whole
head, sends a byte now and then, or does not read its answer; and asyncio accepts until no file is left.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from typing import Any, Final

import structlog
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger(__name__)

HEAD_S: Final = 10.0
"""Seconds for the whole head of a request, from the connection's beginning or from the last answer on it."""
READ_S: Final = 30.0
"""Seconds that an answer may wait for its reader to take more of it."""
MOST: Final = 1000
RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""SO_LINGER of a socket that closes without waiting: on, zero seconds."""
AT_ONCE: Final = 1024
"""Connections that may wait to be taken in: whoever finds no place asks again a second later."""


def most_connections() -> int:
    """Connections that may be open: half of the files that this process may have open, since it needs some itself."""
    return max(1, min(MOST, _files() // 2))


def backlog() -> int:
    """Connections that are taken in at once, before there is time to close others: a quarter of the files at most."""
    return max(1, min(AT_ONCE, _files() // 4))


def _files() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 4 * AT_ONCE
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4 * AT_ONCE if soft == resource.RLIM_INFINITY else soft


class Connection(H11Protocol):
    """A connection to a client, with deadlines for what the client has to do.

    Where there are too many, the one goes that has waited longest without asking anything: somebody who asks at once is
    served however many others just sit there. How long a body may take is the middleware's business.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > most_connections():
            self._make_room()

    @override
    def handle_events(self) -> None:
        super().handle_events()
        if self._answers() and not self.flow.write_paused:
            self._set_deadline(None)

    @override
    def on_response_complete(self) -> None:
        if not self.flow.write_paused:  # else an answer waits for its reader still, whatever is asked next
            self._await_request()  # first: what follows may begin the next request, which has come already
        super().on_response_complete()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_deadline(READ_S)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answers():
            self._set_deadline(None)
        else:
            self._await_request()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._set_deadline(None)

    def _answers(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_request(self) -> None:
        self._set_deadline(HEAD_S)
        self._idle_since = self.loop.time()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._end)
        self._idle_since = None

    def _make_room(self) -> None:
        log.warning("too many connections: those are closed that ask nothing", most=most_connections())
        idle = (one for one in self.connections if isinstance(one, Connection) and one._idle_since is not None)
        min(idle, key=lambda one: one._idle_since or 0.0, default=self)._end()

    def _end(self) -> None:
        self._set_deadline(None)
        self.connections.discard(self)  # at once: who comes next in this round of the event loop counts them
        # Reset: what a client does not read would stay in the kernel, megabytes of it for two minutes.
        if (opened := self.transport.get_extra_info("socket")) is not None:
            with suppress(OSError):  # it has ended by itself
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()
