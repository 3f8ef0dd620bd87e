"""Load on a /predict route, from a process of its own: some connections, each sending its next request on the answer.

Reads its order as JSON from standard input, writes what it saw as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Order:
    """What to send: ``tasks`` texts a request over ``connections``, until the texts or the seconds end."""

    port: int
    headers: dict[str, str]
    texts: Sequence[str]
    connections: int = 1
    tasks: int = 1
    seconds: float = 60.0


@dataclass(frozen=True)
class Seen:
    """``latencies`` of the good answers in seconds; ``errors`` counts all others."""

    latencies: list[float]
    errors: int
    seconds: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """A quantile of the latencies, in seconds."""
        return sorted(self.latencies)[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def run(order: Order) -> Seen:
    """Carry out ``order`` in another process and wait for it."""
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=True)
    return Seen(**json.loads(done.stdout))


def requests(order: Order) -> list[bytes]:
    """The requests, ready to be written."""
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\nContent-Type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in order.headers.items())
    found = []
    chunks = [order.texts[i : i + order.tasks] for i in range(0, len(order.texts), order.tasks)]
    for number, texts in enumerate(chunks):
        tasks = [{"id": number * order.tasks + i, "data": {"text": text}} for i, text in enumerate(texts)]
        body = json.dumps({"tasks": tasks}).encode()
        found.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


async def _connection(port: int, waiting: list[bytes], until: float, latencies: list[float], bad: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    while waiting and time.perf_counter() < until:
        request = waiting.pop()
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if head.startswith(b"HTTP/1.1 200"):
            latencies.append(time.perf_counter() - started)
        else:
            bad.append(body)
    writer.close()
    await writer.wait_closed()


async def _all(order: Order) -> Seen:
    waiting = requests(order)[::-1]
    latencies: list[float] = []
    bad: list[bytes] = []
    started = time.perf_counter()
    until = started + order.seconds
    await asyncio.gather(*(_connection(order.port, waiting, until, latencies, bad) for _ in range(order.connections)))
    if bad:
        print(bad[0][:500], file=sys.stderr)
    return Seen(latencies, len(bad), time.perf_counter() - started)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_all(Order(**json.load(sys.stdin)))))))
