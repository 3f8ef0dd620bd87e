"""Records made up for replays: clusters of vectors, a cluster a label, some of them hard to tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nextlabel.backend.annotators.consensus import majority_labels
from nextlabel.backend.annotators.opinions import Opinions
from nextlabel.backend.simulation import Material
from nextlabel.backend.simulation.data import NO_ANSWER


def clusters(
    n: int = 200, classes: int = 4, d: int = 12, spread: float = 0.6, seed: int = 0, shares: list[float] | None = None
) -> Material:
    """``n`` unit vectors around ``classes`` centres, with one right answer each."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, n, p=shares).astype(np.int64)
    centres = rng.normal(size=(classes, d))
    vectors = centres[truth] / np.linalg.norm(centres[truth], axis=1)[:, None] + spread * rng.normal(size=(n, d)) / 2
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    anchors = rng.normal(size=(classes, d))
    anchors /= np.linalg.norm(anchors, axis=1)[:, None]
    return Material(vectors.astype(np.float16), anchors.astype(np.float32), truth, truth[:, None])


def answered(most: int = 4, people: int = 9, right: float = 0.8, **options: Any) -> Material:
    """The same with one to ``most`` answers to a record, of as many ``people``, who are ``right`` so often.

    The truth is the majority of all answers, as of files with several annotators.
    """
    made = clusters(**options)
    rng = np.random.default_rng(options.get("seed", 0) + 1)
    size, classes = len(made), made.classes
    has = rng.integers(1, most + 1, size)
    who = np.argsort(rng.random((size, people)), axis=1)[:, :most]
    wrong = (made.truth[:, None] + rng.integers(1, classes, (size, most))) % classes
    said = np.where(rng.random((size, most)) < right, made.truth[:, None], wrong)
    asked = np.arange(most) < has[:, None]
    answers = np.where(asked, said, NO_ANSWER).astype(np.int64)
    row, turn = np.nonzero(asked)
    labels = tuple(f"{label}" for label in range(classes))
    names = tuple(f"{one}" for one in range(people))
    opinions = Opinions(row, who[row, turn], answers[row, turn], size, names, labels)
    people_of = np.where(asked, who, NO_ANSWER).astype(np.int64)
    return replace(made, answers=answers, people=people_of, truth=majority_labels(opinions))
