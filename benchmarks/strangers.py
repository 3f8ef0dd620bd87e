"""Strangers try to stop the service: are `/health` and a known caller still answered, and what does it cost?

The real service on a real Label Studio, with 1,024 files to open, as most machines give. Against it, one after the
other: 1,100 connections that send nothing, 100 bodies whose end never comes (with the webhooks' secret, which every
member of Label Studio can read, and without any), bodies of 30 MB, and bodies of 300,000 items, both with a token.
Told are the longest wait of `/health` and of a known caller meanwhile, memory at its highest against before, and what
the log grew by.
"""

from __future__ import annotations

import argparse
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.reporting import publish
from nextlabel.backend.stack import LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.server import PlatformServer

GOAL: Final = {"wait_s": 1.0, "memory": 1.2, "log_bytes": 10_000}
FILES: Final = 1024
SECRET: Final = "what-every-member-can-read"
PIECE: Final = b"[]," * 80_000
EMPTY: Final = b'{"tasks":[' + b"[]," * 10_000_000 + b"[]]}"
ITEMS: Final = b'{"tasks":[' + b"0," * 300_000 + b"0]}"


@dataclass
class Watch:
    """Asks over and over: how long each of the two waited at most, and how much memory the process had."""

    product: BackendProcess
    waited: dict[str, float] = field(default_factory=dict)
    highest: int = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs."""
        over = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(path, over)) for path in ("/health", "/api/status")]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _ask(self, path: str, over: threading.Event) -> None:
        headers = {"Authorization": f"Bearer {self.product.token}"} if path != "/health" else {}
        self.waited[path] = 0.0
        while not over.is_set():
            began = time.monotonic()
            # A connection of its own each time: to get one is what an attack makes hard.
            httpx.get(self.product.url + path, headers=headers, timeout=60, trust_env=False).raise_for_status()
            self.waited[path] = max(self.waited[path], time.monotonic() - began)
            self.highest = max(self.highest, memory(self.product.pid))
            over.wait(0.05)


def memory(pid: int) -> int:
    """Bytes that the process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def idle(product: BackendProcess, count: int = 1100) -> Iterator[None]:
    """Connections that send nothing."""
    with ExitStack() as held:
        for _ in range(count):
            held.enter_context(socket.create_connection(("127.0.0.1", product.port), timeout=30))
        yield


@contextmanager
def held_bodies(product: BackendProcess, count: int = 100) -> Iterator[None]:
    """Bodies that begin and never end, half of them with the webhooks' secret."""
    with ExitStack() as held:
        for number in range(count):
            one = held.enter_context(socket.create_connection(("127.0.0.1", product.port), timeout=30))
            path, name = (("/webhook", "X-Nextlabel-Secret"), ("/webhook/argilla", "webhook-signature"))[number % 2]
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{name}: {SECRET}\r\nContent-Type: application/json\r\n"
            one.sendall(f"{head}Content-Length: 8000000\r\n\r\n".encode())
            _send(one, PIECE)
        yield


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the service may have had enough of it
        connection.sendall(data)


@contextmanager
def large_bodies(product: BackendProcess, body: bytes = EMPTY) -> Iterator[None]:
    """Bodies of 30 MB, by somebody with the token and by somebody without."""
    for path in ("/predict", "/api/predict", "/webhook"):
        for token in (product.token, "guessed"):
            _post(product, path, body, token)
    yield


@contextmanager
def many_items(product: BackendProcess) -> Iterator[None]:
    """Small bodies of 300,000 items."""
    with large_bodies(product, ITEMS):
        yield


def _post(product: BackendProcess, path: str, body: bytes, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        answer = httpx.post(product.url + path, content=body, headers=headers, timeout=60, trust_env=False)
    except httpx.TransportError:
        return  # it hung up, which is an answer
    assert answer.is_client_error, answer.status_code
    assert len(answer.content) < GOAL["log_bytes"]


ATTACKS: Final[dict[str, Callable[[BackendProcess], Any]]] = {
    "1,100 idle connections": idle,
    "100 held bodies": held_bodies,
    "30 MB bodies": large_bodies,
    "300,000 items": many_items,
}


def attacked(product: BackendProcess, attack: Callable[[BackendProcess], Any], hold_s: float) -> dict[str, float]:
    """What an attack that is held for so many seconds comes to."""
    before, said = memory(product.pid), product.log.stat().st_size
    watch = Watch(product, highest=before)
    with watch.watching(), attack(product):
        time.sleep(hold_s)
    return {
        "health_s": watch.waited["/health"],
        "known_caller_s": watch.waited["/api/status"],
        "memory": watch.highest / before,
        "log_bytes": product.log.stat().st_size - said,
    }


@contextmanager
def few_files() -> Iterator[None]:
    """A process started meanwhile may open as many files as most machines allow; this one may open more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * FILES, hard)), hard))


@contextmanager
def running(server: PlatformServer, home: Path) -> Iterator[BackendProcess]:
    """The service, at rest."""
    rows = [f"text number {number},{number}" for number in range(20)]
    (home / "data.csv").write_text("\n".join(["text,id", *rows]), encoding="utf-8")
    recipe = home / "strangers.yaml"
    recipe.write_text(
        "data: data.csv\nid: id\nfields: text\nlabels: [bug, praise]\nencoder: hashing\n", encoding="utf-8"
    )
    product = BackendProcess(str(recipe), server, home, env={"NEXTLABEL_WEBHOOK_SECRET": SECRET})
    try:
        with few_files():
            product.start()
        product.wait(lambda status: status["generation"] and status["state"] == "idle", "the first queue")
        yield product
    finally:
        product.stop()


def main(argv: list[str]) -> dict[str, Any]:
    """Measure, print, and write results/strangers.json."""
    parser = argparse.ArgumentParser(prog="benchmarks strangers", description=__doc__)
    parser.add_argument("--hold", type=float, default=15.0, help="Seconds that each attack is held.")
    options = parser.parse_args(argv)
    with (
        LabelStudioStack().start(say=print) as server,
        tempfile.TemporaryDirectory(prefix="nextlabel-strangers-") as folder,
        running(server, Path(folder)) as product,
    ):
        figures = {name: attacked(product, attack, options.hold) for name, attack in ATTACKS.items()}
    reached = all(
        max(one["health_s"], one["known_caller_s"]) < GOAL["wait_s"]
        and one["memory"] < GOAL["memory"]
        and one["log_bytes"] < GOAL["log_bytes"]
        for one in figures.values()
    )
    result = {"goal": GOAL, "reached": reached, **figures}
    columns = ["attack", *next(iter(figures.values()))]
    return publish("strangers", result, columns, [[name, *one.values()] for name, one in figures.items()])
