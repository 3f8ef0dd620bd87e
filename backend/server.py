"""The app under uvicorn: the socket to listen on, and the server."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

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
