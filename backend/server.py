"""The app under uvicorn: the socket to listen on, and the server."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from nextlabel.connectors.errors import ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

DRAIN_S: Final = 1
"""Seconds that requests in progress have to end when the server is told to stop."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigError if the address can't be had."""
    # The protocol has to be named: asyncio switches Nagle's algorithm off only for sockets that say they are TCP, and
    # with it on, every answer on a kept connection waits 40 ms for the client's acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise ConfigError(
            f"can't listen on {host}:{port} ({reason}); choose another with --port, or 0 for any"
        ) from None
    return listener


def make_server(app: FastAPI) -> Server:
    """A uvicorn server for ``app``: ``run(sockets=[listener])`` serves until ``should_exit`` or a signal."""
    import uvicorn

    from nextlabel.backend.connections import Connection, backlog

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            backlog=backlog(),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=DRAIN_S,
        )
    )


class BackgroundServer:
    """Serves ``app`` at ``listener`` on a thread of its own, while the block runs; signals are for the main thread."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        self._server, self._listener = make_server(app), listener
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nextlabel-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def wait(self) -> None:
        """Until somebody stops it, or it ended by itself."""
        self._ended.wait()

    def begin_stop(self) -> None:
        """Take no more requests. From any thread."""
        self._server.should_exit = True
        self._ended.set()

    def stop(self) -> None:
        """Take no more requests, and let those in progress end. May be called twice."""
        self.begin_stop()
        self._thread.join(2 * DRAIN_S)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._ended.set()
