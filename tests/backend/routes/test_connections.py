"""Connections end that ask nothing, ask for ever, or don't listen; and there are never too many."""

import socket
import threading

import httpx
import pytest

from nextlabel.backend import connections
from tests.waiting import LIMIT_S


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)


def ends(connection: socket.socket) -> bool:
    """Whether the other side hangs up, whatever it says before."""
    with connection:
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


def is_healthy(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=LIMIT_S).is_success


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    monkeypatch.setattr(connections, "READ_S", 0.3)


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET", b"\r\n"])
def test_a_request_that_does_not_come_is_not_waited_for(port: int, hurried: None, sent: bytes) -> None:
    connection = opened(port)
    connection.sendall(sent)
    assert ends(connection)


def test_a_head_that_drips_is_not_waited_for(port: int, hurried: None) -> None:
    connection, over = opened(port), threading.Event()

    def drip() -> None:
        while not over.wait(0.05):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    connection.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
    dripping = threading.Thread(target=drip)
    dripping.start()
    assert ends(connection)
    over.set()
    dripping.join()


def test_a_body_nobody_wants_is_not_waited_for(port: int, hurried: None) -> None:
    connection = opened(port)
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert ends(connection)


def test_an_answer_that_nobody_reads_is_not_waited_for(port: int, hurried: None) -> None:
    with opened(port) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask_for_ever(connection)
    assert is_healthy(port)


def ask_for_ever(connection: socket.socket) -> None:
    """And read nothing. There is an end to what socket and transport hold of the answers, sooner with long ones."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    requests = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    while True:
        connection.sendall(requests)


def test_a_request_in_time_is_answered_on_a_kept_connection(port: int) -> None:
    with httpx.Client(trust_env=False, timeout=LIMIT_S) as client:
        for _ in range(5):
            assert client.get(f"http://127.0.0.1:{port}/health").is_success


def test_who_asks_is_served_beside_many_that_ask_nothing(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 20)
    many = [opened(port) for _ in range(60)]
    assert is_healthy(port)
    assert all(ends(connection) for connection in many[:39])  # those that came first
    for connection in many[39:]:
        connection.close()


def test_there_are_fewer_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for soft, most, backlog in ((1024, 512, 256), (256, 128, 64), (1_000_000, 1000, 1024), (-1, 1000, 1024)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, soft=soft: (soft, soft))
        assert (connections.most_connections(), connections.backlog()) == (most, backlog)
