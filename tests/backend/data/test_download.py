"""Downloads: real servers on loopback, and what an address must not make us do."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from PIL import Image

from nextlabel.backend.data import image_files as module
from nextlabel.backend.data.image_files import download, is_public, read_image
from nextlabel.backend.data.image_rules import ImageRules, UnreadableImage
from nextlabel.connectors import in_between
from nextlabel.connectors.served import Served


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(stream, "PNG")
    return stream.getvalue()


class Pages(BaseHTTPRequestHandler):
    """One path a behaviour. ``seen`` holds (path, Host header) of every request, ``keys`` what it was authorised by."""

    seen: list[tuple[str, str]]
    keys: list[str | None]
    body = png()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        type(self).seen.append((path, self.headers["Host"]))
        type(self).keys.append(self.headers["Authorization"])
        times = sum(one == path for one, _ in type(self).seen)
        if path == "/drip.png":
            self.send_response(200)
            self.end_headers()
            while True:
                try:
                    self.wfile.write(b"x" * 10)
                except OSError:
                    return
                time.sleep(0.05)
        if path.startswith("/to/") or path.endswith("/moved"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()
            return
        status = {"/gone.png": 404, "/busy.png": 503, "/once.png": 503 if times == 1 else 200}.get(path, 200)
        body = b"x" * 50_000 if path == "/big.png" else self.body
        rest = {"/rest.png": ("2", "", ""), "/long.png": ("300", "300")}.get(path, ())[times - 1 : times]
        status = 429 if rest and rest[0] else status
        self.send_response(status)
        for seconds in rest:
            self.send_header("Retry-After", seconds)
        if path != "/big.png":  # which doesn't say how much it is
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Pages.seen, Pages.keys = [], []
    pages = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    pages.daemon_threads = True
    thread = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{pages.server_port}"
    pages.shutdown()
    thread.join()
    pages.server_close()


LOCAL = ImageRules(hosts=frozenset({"127.0.0.1"}))


def problem(url: str, rules: ImageRules = LOCAL) -> str:
    with pytest.raises(UnreadableImage) as caught:
        download(url, rules)
    return caught.value.problem.kind


def test_an_image_is_fetched_and_redirects_followed(server: str) -> None:
    assert read_image(f"{server}/a.png?size=3", 32, LOCAL).size == (30, 20)
    assert download(f"{server}/to/?/to/?/a.png", LOCAL) == Pages.body


def test_the_platforms_key_goes_with_its_own_files_and_nowhere_else(server: str) -> None:
    elsewhere = server.replace("127.0.0.1", "localhost")
    served = Served(server, headers=lambda: {"Authorization": "Token secret"})
    rules = ImageRules(hosts=frozenset({"localhost"}), served=served).for_requests()
    assert read_image("/data/upload/1/a.png", 32, rules).size == (30, 20)
    assert problem(f"{server}/api/projects/1", rules) == "refused"
    allowed = replace(rules, hosts=frozenset({"localhost"}))
    assert download(f"{server}/data/upload/moved?{elsewhere}/b.png", allowed) == Pages.body
    assert list(zip([path for path, _ in Pages.seen], Pages.keys, strict=True)) == [
        ("/data/upload/1/a.png", "Token secret"),
        ("/data/upload/moved", "Token secret"),
        ("/b.png", None),
    ]
    assert "secret" not in json.dumps(rules.told())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_internal_hosts_are_refused_unless_named(server: str, host: str) -> None:
    port = server.rpartition(":")[2]
    assert problem(f"http://{host}:{port}/a.png", ImageRules()) == "refused"
    assert Pages.seen == [], "nothing was sent there"


@pytest.mark.parametrize("hosts", [{"127.0.0.1"}, {"*"}, "127.0.0.1:PORT"])
def test_a_named_host_is_allowed(server: str, hosts: set[str] | str) -> None:
    port = server.rpartition(":")[2]
    named = {hosts.replace("PORT", port)} if isinstance(hosts, str) else hosts
    assert download(f"{server}/a.png", ImageRules(hosts=frozenset(named))) == Pages.body


def test_another_port_of_a_named_host_is_refused(server: str) -> None:
    assert problem(f"{server}/a.png", ImageRules(hosts=frozenset({"127.0.0.1:1"}))) == "refused"


def test_a_redirect_to_an_internal_host_is_refused(server: str) -> None:
    elsewhere = f"{server.replace('127.0.0.1', 'localhost')}/a.png"
    assert problem(f"{server}/to/?{elsewhere}") == "refused"
    assert problem(f"{server}/to/?file:///etc/passwd") == "refused"
    assert [path for path, _ in Pages.seen] == ["/to/", "/to/"]


def test_a_name_is_looked_up_once_and_that_address_is_connected_to(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up could tell another address (DNS rebinding)."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def lookup(host: str, *args: object, **options: object) -> object:
        asked.append(host)
        return real("127.0.0.1" if host == "images.example" else host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    port = server.rpartition(":")[2]
    url = f"http://images.example:{port}/a.png"
    assert problem(url, ImageRules()) == "refused", "a public name with an internal address"
    assert download(url, ImageRules(hosts=frozenset({"images.example"}))) == Pages.body
    assert asked.count("images.example") == 2
    assert Pages.seen == [("/a.png", f"images.example:{port}")]


def test_a_name_with_one_internal_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    assert problem("http://images.example/a.png", ImageRules()) == "refused"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f::1", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.8.8.8", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:0a00:0001::", False),
        ("64:ff9b::a9fe:a9fe", False),
    ],
)
def test_what_counts_as_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_too_much_is_cut_off(server: str) -> None:
    assert problem(f"{server}/big.png", ImageRules(hosts=LOCAL.hosts, max_bytes=1000)) == "too large"


def test_a_server_that_drips_is_left(server: str) -> None:
    started = time.monotonic()
    assert problem(f"{server}/drip.png", ImageRules(hosts=LOCAL.hosts, timeout_s=0.4)) == "unreachable"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_head_that_drips_is_left(begin: bytes) -> None:
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.sendall(begin)
                while not over.wait(0.05):  # a sign of life, long before anybody would give up on its account
                    connection.sendall(begin if begin.endswith(b"\r\n\r\n") else b"x" if begin else b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
        assert problem(url, ImageRules(hosts=LOCAL.hosts, timeout_s=0.4)) == "unreachable"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_name_that_is_never_found_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def ask(*name: object, **more: object) -> list[object]:
        over.wait()
        raise OSError("nobody knows")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    assert problem("http://images.example/a.png", ImageRules(timeout_s=0.2)) == "unreachable"
    over.set()


def test_what_may_pass_is_tried_again_and_the_rest_is_not(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    assert download(f"{server}/once.png", LOCAL) == Pages.body
    assert problem(f"{server}/busy.png") == "unreachable"
    assert problem(f"{server}/gone.png") == "unreachable"
    asked = [path for path, _ in Pages.seen]
    assert [asked.count(path) for path in ("/once.png", "/busy.png", "/gone.png")] == [2, 2, 1]


class Clock:
    """The hands of ``time`` for the module, and of what counts how long a server wants to be left alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = time.monotonic(), list[float]()
        monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(in_between, "elapsed", self.monotonic)
        monkeypatch.setattr(module, "_rests", in_between.Rests())

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_who_wants_to_be_left_alone_is_asked_again_when_that_is_over(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    assert download(f"{server}/rest.png", LOCAL) == Pages.body
    assert clock.slept == [pytest.approx(2.0)]
    assert len(Pages.seen) == 2


def test_who_wants_to_be_left_alone_for_long_is_asked_for_nothing_meanwhile(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)

    def asked(path: str) -> UnreadableImage:
        with pytest.raises(UnreadableImage) as caught:
            download(server + path, LOCAL)
        return caught.value

    first, second = asked("/long.png"), asked("/a.png")
    assert [path for path, _ in Pages.seen] == ["/long.png"], "nor is another picture of this server"
    assert first.problem.away
    assert "Retry-After" in str(second)
    assert str(first).replace("long", "a") == str(second), "the same words, so that it is told once"
    elsewhere = server.replace("127.0.0.1", "localhost")
    assert download(f"{elsewhere}/a.png", replace(LOCAL, hosts=frozenset({"localhost"}))) == Pages.body
    clock.now += 300
    assert download(f"{server}/a.png", LOCAL) == Pages.body


@pytest.mark.parametrize("path", ["/to/?/to/?/to/?/to/?/to/?/a.png"])
def test_redirects_end_somewhere(server: str, path: str) -> None:
    assert problem(server + path) == "unreachable"


@pytest.mark.parametrize("url", ["http://", "http:///a.png", "http://host:99999/a.png", "http://[::1/a.png"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    assert problem(url) == "refused"


def test_a_closed_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    assert problem("http://127.0.0.1:1/a.png") == "unreachable"
