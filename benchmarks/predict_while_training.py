"""Live predictions while an encoder is fine-tuned beside: p95 with the trainer at work against the trainer paused.

The whole service answers requests of one text each, never seen before; the trainer is the product's own process, with
its own priority and threads, on the same encoder. It is stopped and continued by signals, so that rounds with and
without it take turns in one run.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Order, run
from benchmarks.predict import HEADERS, Texts, server
from benchmarks.predict_servers import ENCODER
from benchmarks.reporting import publish
from benchmarks.texts import short_texts
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.backend.training.spec import TrainingSpec

GOAL = 2.0
CLIENTS = (1, 4)
SETTLE_S = 1.0


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="predict_while_training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    options = parser.parse_args(argv)
    texts = Texts(60_000)
    p95: dict[tuple[int, bool], list[float]] = {(clients, busy): [] for clients in CLIENTS for busy in (False, True)}
    with tempfile.TemporaryDirectory() as place, server("ours", Path(place), "--home", place) as port:
        trainer = TrainingProcess.start(Path(place) / "training", endless(Path(place)))
        try:
            wait_for_steps(trainer)
            run(Order(port, HEADERS, texts.next(64), connections=4))  # warm
            for _ in range(options.rounds):
                for busy in (False, True):
                    os.killpg(trainer.pid or 0, signal.SIGCONT if busy else signal.SIGSTOP)
                    time.sleep(SETTLE_S)
                    for clients in CLIENTS:
                        seen = run(Order(port, HEADERS, texts.next(2500), clients, 1, options.seconds))
                        assert not seen.errors
                        p95[clients, busy].append(seen.quantile(0.95))
        finally:
            os.killpg(trainer.pid or 0, signal.SIGCONT)
            trainer.cancel()
    medians = {key: statistics.median(values) for key, values in p95.items()}
    ratios = {clients: medians[clients, True] / medians[clients, False] for clients in CLIENTS}
    rows = [
        [
            str(clients),
            f"{medians[clients, False] * 1e3:.1f}",
            f"{medians[clients, True] * 1e3:.1f}",
            f"{ratio:.2f}",
            f"{GOAL:g}",
        ]
        for clients, ratio in ratios.items()
    ]
    told = {
        f"{clients} clients": {"ratio": ratio, "idle_s": p95[clients, False], "training_s": p95[clients, True]}
        for clients, ratio in ratios.items()
    }
    columns = ["clients", "p95 idle (ms)", "p95 while training (ms)", "ratio", "goal"]
    return publish("predict_while_training", told, columns, rows)


def endless(place: Path) -> TrainingJob:
    """A training that will not end before we have measured."""
    texts = tuple(short_texts(600))
    examples = Examples(texts, np.arange(len(texts)) % 2, ("one", "other"))
    encoder = EncoderSpec(ENCODER, cache_dir=place / "encoders")
    return TrainingJob(kind="fine-tune", encoder=encoder, examples=examples, spec=TrainingSpec(epochs=1000, patience=0))


def wait_for_steps(trainer: TrainingProcess) -> None:
    """Until the trainer has begun with its steps."""
    while (progress := trainer.progress()) is None or progress.stage != "training":
        if trainer.poll() != "running":
            raise SystemExit(trainer.error)
        time.sleep(0.2)
