"""A project made for reports: its store is filled by hand, with answers known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.service.opening import load_records, open_store
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes

RECIPE = "posts.yaml"
WORDS = {"good": "sun warm smile gift song", "bad": "rain cold tears debt noise"}
FILLING = ["table", "window", "street", "paper", "water", "stone", "river", "glass", "door", "garden"]
START = datetime(2026, 11, 22, 8, tzinfo=UTC)


def make(folder: Path, records: int, audit: int, kind: str = "single") -> Store:
    """A project of ``records`` texts on the platform, the lots so that ``audit`` of them are the audit slice."""
    rng = np.random.default_rng(3)
    lines = ["number,post"]
    for at in range(records):
        words = [*rng.choice(WORDS[truth(at)].split(), 2), *rng.choice(FILLING, 6), f"n{at}"]
        lines.append(f"{at},{' '.join(words)}")
    (folder / "posts.csv").write_text("\n".join(lines) + "\n")
    (folder / RECIPE).write_text(
        "data: posts.csv\nfields: post\nid: number\nlabels: [good, bad]\nencoder: hashing\naudit_share: 0\n"
        + (f"kind: {kind}\n" if kind != "single" else "")
    )
    recipe, settings = find_recipe(RECIPE), Settings.load()
    store = open_store(recipe, settings)
    load_records(recipe, store, settings)
    sampling_keys = sorted(item.lot for item in store.records())
    if audit:
        store.set_audit_threshold((sampling_keys[audit - 1] + sampling_keys[audit]) / 2)
    store.set_remote({str(at): f"r{at}" for at in range(records)})
    return store


def truth(at: int) -> str:
    """What the text of record ``at`` is about: every third is bad."""
    return "bad" if at % 3 == 0 else "good"


def slices(store: Store) -> tuple[list[int], list[int]]:
    """Positions outside the audit slice and inside."""
    found = list(store.records())
    return [one.position for one in found if not one.audit], [one.position for one in found if one.audit]


def answer(store: Store, given: Mapping[int, Mapping[str, str | Sequence[str]]]) -> None:
    """Log answers: position -> annotator -> label or labels; a minute apart, in order."""
    said = [
        Annotation(
            f"{at}-{who}",
            f"r{at}",
            who,
            (label,) if isinstance(label, str) else tuple(label),
            AnnotationStatus.SUBMITTED,
            START + timedelta(minutes=minute),
        )
        for minute, (at, who, label) in enumerate(
            (at, who, label) for at, answers in given.items() for who, label in answers.items()
        )
    ]
    store.append(Changes(annotations=tuple(said)))


def add_model(store: Store, labels: int, accuracy: float, audited: int, base: str = "") -> None:
    """A probe's row as the loop writes it, of made-up figures."""
    version = f"probe-{labels}" + (f"-{base}" if base else "")
    figures = {"labels": labels, "audit_n": audited, "audit_accuracy": accuracy}
    store.add_model(version, "probe", labels, figures, f"/nowhere/{version}", base=base)
