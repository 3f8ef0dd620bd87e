"""Live predictions: the whole service against a server of the usual kind, same model, same texts, same run.

Three figures: requests a second with 16 clients of one task each; the median answer to a single client against the
bare forward pass; one request of 1,000 tasks. Neither server has seen any of the texts. The usual server is measured
with torch's own thread count and with one thread, and the better one counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.load import Order, Seen, run
from benchmarks.predict_servers import ENCODER, MAX_LENGTH, TOKEN
from benchmarks.reporting import publish
from benchmarks.texts import short_texts
from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.stack.processes import free_port, start_group, stop_group

USUAL = {"usual": 0, "usual, 1 torch thread": 1}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def server(kind: str, folder: Path, *arguments: str) -> Iterator[int]:
    """Start one of benchmarks/predict_servers.py and wait until it answers; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.predict_servers", kind, "--port", str(port), *arguments]
    log = folder / f"{kind}-{port}.log"
    process = start_group(command, os.environ, Path.cwd(), log)
    try:
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"the server {kind} ended:\n{log.read_text()[-3000:]}") from None
                time.sleep(0.1)
        yield port
    finally:
        stop_group(process.pid, process)


class Texts:
    """Hands out texts that were not handed out before."""

    def __init__(self, count: int) -> None:
        self._texts = short_texts(count)

    def next(self, count: int) -> list[str]:
        """The next ``count`` of them."""
        taken, self._texts = self._texts[:count], self._texts[count:]
        if len(taken) < count:
            raise SystemExit("not enough texts for so many rounds")
        return taken


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="predict", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round with 16 clients")
    parser.add_argument("--engine", default="auto", help="of our service")
    options = parser.parse_args(argv)
    texts = Texts(60_000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        encoder = load_encoder(ENCODER, options.engine, max_length=MAX_LENGTH, cache_dir=folder / "encoders")
        ports = {"ours": stack.enter_context(server("ours", folder, "--home", str(folder), "--engine", options.engine))}
        for name, threads in USUAL.items():
            ports[name] = stack.enter_context(server("usual", folder, "--torch-threads", str(threads)))
        for port in ports.values():
            run(Order(port, HEADERS, texts.next(32), connections=4))  # warm
        steps = [lambda: _together(ports, texts, options.seconds), lambda: _alone(ports, texts, encoder)]
        steps += [lambda: _large(ports, texts)]
        rounds = [[step() for step in steps] for _ in track(range(options.rounds), description="rounds")]
    return _report(rounds, ports, options, encoder)


def _together(ports: dict[str, int], texts: Texts, seconds: float) -> dict[str, Seen]:
    """16 clients, one task a request."""
    same = texts.next(int(1500 * seconds))
    return {name: run(Order(port, HEADERS, same, 16, 1, seconds)) for name, port in ports.items()}


def _alone(ports: dict[str, int], texts: Texts, encoder: Encoder) -> dict[str, Seen]:
    """One client, one task a request; and the bare forward pass, before and after."""
    same = texts.next(150)
    before = _bare(encoder, same)
    seen = {name: run(Order(port, HEADERS, same)) for name, port in ports.items()}
    return {**seen, "bare": Seen(before + _bare(encoder, same), 0, 1.0)}


def _bare(encoder: Encoder, texts: list[str]) -> list[float]:
    latencies = []
    for text in texts:
        started = time.perf_counter()
        encoder.encode([text])
        latencies.append(time.perf_counter() - started)
    return latencies


def _large(ports: dict[str, int], texts: Texts) -> dict[str, Seen]:
    """One request of 1,000 tasks."""
    same = texts.next(1000)
    return {name: run(Order(port, HEADERS, same, tasks=1000)) for name, port in ports.items()}


def _report(
    rounds: list[list[dict[str, Seen]]], ports: dict[str, int], options: Any, encoder: Encoder
) -> dict[str, Any]:
    def median(step: int, name: str, figure: Any) -> float:
        return statistics.median(figure(each[step][name]) for each in rounds)

    def against_best(step: int, figure: Any) -> float:
        """Median over the rounds of ours over the better of the usual ones; ``figure``: higher is better."""
        return statistics.median(
            figure(each[step]["ours"]) / max(figure(each[step][name]) for name in USUAL) for each in rounds
        )

    servers = {
        name: {
            "requests_per_s_16": median(0, name, lambda seen: seen.rate),
            "p50_ms_16": median(0, name, lambda seen: seen.quantile(0.5) * 1e3),
            "p95_ms_16": median(0, name, lambda seen: seen.quantile(0.95) * 1e3),
            "p50_ms_1": median(1, name, lambda seen: seen.quantile(0.5) * 1e3),
            "p95_ms_1": median(1, name, lambda seen: seen.quantile(0.95) * 1e3),
            "seconds_1000_tasks": median(2, name, lambda seen: seen.quantile(0.5)),
            "errors": sum(each[step][name].errors for each in rounds for step in range(3)),
        }
        for name in ports
    }
    bare = median(1, "bare", lambda seen: seen.quantile(0.5) * 1e3)
    result = {
        "engine": encoder.fingerprint,
        "rounds": options.rounds,
        "servers": servers,
        "bare_p50_ms": bare,
        "ratio_requests_16": against_best(0, lambda seen: seen.rate),
        "ratio_p50_1_to_bare": statistics.median(
            each[1]["ours"].quantile(0.5) / each[1]["bare"].quantile(0.5) for each in rounds
        ),
        "ratio_1000_tasks": against_best(2, lambda seen: 1 / seen.quantile(0.5)),
    }
    rows: list[list[object]] = [
        [name, *(f"{figures[key]:.1f}" for key in list(figures)[:-2]), f"{figures['seconds_1000_tasks']:.2f}"]
        for name, figures in servers.items()
    ]
    rows.append(["bare forward pass", "", "", "", f"{bare:.1f}", "", ""])
    speedup, large = f"{result['ratio_requests_16']:.2f}x", f"{result['ratio_1000_tasks']:.2f}x"
    rows.append(["ours to the best", speedup, "", "", f"{result['ratio_p50_1_to_bare']:.2f}x bare", "", large])
    columns = ["server", "16 clients: req/s", "p50 ms", "p95 ms", "1 client: p50 ms", "p95 ms", "1,000 tasks: s"]
    return publish("predict", result, columns, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
