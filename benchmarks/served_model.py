"""A model served alone against the service of a project: requests a second with 16 clients, in turn, in one run."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.load import Order, run
from benchmarks.predict import HEADERS, Texts, server
from benchmarks.reporting import publish

KINDS = ("ours", "alone")


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="served_model", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each server in each round")
    options = parser.parse_args(argv)
    texts = Texts(60_000)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    errors = dict.fromkeys(KINDS, 0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {kind: stack.enter_context(server(kind, folder, "--home", str(folder / kind))) for kind in KINDS}
        for port in ports.values():
            run(Order(port, HEADERS, texts.next(32), connections=4))  # warm
        for number in track(range(options.rounds), description="rounds"):
            same = texts.next(int(1500 * options.seconds))
            for kind in KINDS if number % 2 else reversed(KINDS):
                seen = run(Order(ports[kind], HEADERS, same, 16, 1, options.seconds))
                rates[kind].append(seen.rate)
                errors[kind] += seen.errors
    ratios = [alone / ours for ours, alone in zip(*rates.values(), strict=True)]
    result = {
        "rounds": options.rounds,
        "requests_per_s_16": {kind: statistics.median(found) for kind, found in rates.items()},
        "errors": errors,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    rows = [[kind, f"{statistics.median(rates[kind]):.0f}", errors[kind]] for kind in KINDS]
    rows.append(["alone to ours", f"{result['ratio']:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})", ""])
    return publish("served_model", result, ["server", "16 clients: requests/s", "errors"], rows)


if __name__ == "__main__":
    main(sys.argv[1:])
