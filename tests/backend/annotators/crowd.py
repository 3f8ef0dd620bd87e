"""A made-up crowd: people of different reliability, records with one to five answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.annotators.opinions import Doubles, Indices, Opinions, from_rows


def crowd(
    seed: int,
    records: int = 200,
    people: int = 15,
    classes: int = 3,
    most: int = 5,
    least: int = 1,
    right: Sequence[float] | None = None,
) -> tuple[Opinions, Indices, Doubles]:
    """Opinions, the truth int64 [n], and a model's noisy predictions float64 [n, c].

    ``right``: how often each of the people knows the truth; who doesn't draws lots.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=records)
    knows = rng.uniform(0.5, 0.98, people) if right is None else np.array(right)
    rows = []
    for record in range(records):
        for who in rng.choice(people, rng.integers(least, most + 1), replace=False):
            label = truth[record] if rng.random() < knows[who] else rng.integers(classes)
            rows.append((record, int(who), int(label)))
    named = [(record, f"a{who:03}", label) for record, who, label in rows]
    opinions = from_rows(named, records, [f"l{n}" for n in range(classes)])
    logits = rng.normal(size=(records, classes)) + 1.5 * np.eye(classes)[truth]
    odds = np.exp(logits)
    return opinions, truth, odds / odds.sum(axis=1, keepdims=True)


def numbered(record: Any, annotator: Any, label: Any, size: int, classes: int) -> Opinions:
    """Opinions of people and labels that go by their numbers; ``label`` [o], or bool [o, classes] for several."""
    who: npt.NDArray[np.int64] = np.array(annotator, np.int64)
    people = tuple(f"a{n}" for n in range(int(who.max(initial=-1)) + 1))
    return Opinions(
        np.array(record, np.int64), who, np.asarray(label), size, people, tuple(f"l{n}" for n in range(classes))
    )


def to_matrix(opinions: Opinions) -> Doubles:
    """The other way: float64 [size, annotators], NaN for no answer. It is mostly empty; keep it for small sets."""
    matrix = np.full((opinions.size, len(opinions.annotators)), np.nan)
    matrix[opinions.record, opinions.annotator] = opinions.label
    return matrix


def repaired_scores(patch: pytest.MonkeyPatch) -> Callable[..., tuple[Doubles, Doubles]]:
    """cleanlab's own ActiveLab scores, lowest first, with one repair.

    To find a temperature, cleanlab 2.9 counts answers by their rank among those present and not by their class
    wherever they come as floats, as they must beside NaN.
    """
    from cleanlab.internal import multiannotator_utils
    from cleanlab.multiannotator import get_active_learning_scores

    count = multiannotator_utils.value_counts
    patch.setattr(multiannotator_utils, "value_counts", lambda labels, **options: count(labels.astype(int), **options))
    found: Callable[..., tuple[Doubles, Doubles]] = get_active_learning_scores
    return found
