"""What a reader has to know about labelled data before believing figures from it, in sentences."""

from __future__ import annotations

import numpy as np

from nextlabel.backend.learning.examples import Examples

from .labelled import LabelledRows, rare_labels

FEW = 5  # labels that are named one by one


def remarks_on_folds(rows: LabelledRows, examples: Examples, folds: int, random_folds: bool) -> list[str]:
    """Copies, contradictions, labels too rare and groups too few for so many ``folds``."""
    remarks = []
    copies, groups = rows.copies(), examples.groups
    if random_folds:
        remarks.append(
            "folds were made at random: groups and copies are split between them, which flatters the figures"
        )
    elif groups is None and copies:
        remarks.append(f"{copies:,} rows repeat the text of another; copies share a fold")
    elif groups is not None and (torn := _in_several(rows.texts, groups.tolist())):
        remarks.append(f"{torn:,} texts stand in several groups, so copies of them may be in different folds")
    remarks += _contradictions(rows)
    if rare := rare_labels(rows, folds):
        named = ", ".join(f"{label!r} ({count})" for label, count in rare[:FEW]) + ", …" * (len(rare) > FEW)
        remarks.append(
            f"fewer rows than the {folds} folds: {named}; some folds test nothing of them, "
            "and what is said about them is little more than chance"
        )
    if groups is not None and not random_folds and (found := len(np.unique(groups))) < folds:
        remarks.append(f"there are only {found} groups, so there are {found} folds")
    return remarks


def remarks_on_test(train: LabelledRows, test: LabelledRows, grouped: bool) -> list[str]:
    """Texts and groups on both sides, labels on one only, contradictions in the test set."""
    remarks = []
    known = set(train.texts)
    if leaked := sum(text in known for text in test.texts):
        remarks.append(f"{leaked:,} of the {len(test.texts):,} texts to test on are also learned from")
    groups = set(train.groups) - {""}
    if grouped and (shared := sum(group in groups for group in test.groups)):
        share = shared / len(test.texts)
        remarks.append(f"{share:.0%} of the texts to test on are of a group that is also learned from: this flatters")
    unseen = sorted(_names(test) - _names(train))
    if unseen:
        remarks.append(f"only tested, never learned: {', '.join(map(repr, unseen[:FEW]))}")
    return remarks + _contradictions(test)


def _names(rows: LabelledRows) -> set[str]:
    return {label for labels in rows.labels for label in labels}


def _contradictions(rows: LabelledRows) -> list[str]:
    torn = rows.contradictions()
    return [f"{torn:,} texts are there with different labels: nobody can be right about all of them"] if torn else []


def _in_several(texts: list[str], groups: list[int]) -> int:
    """Texts that stand in several groups."""
    found: dict[str, set[int]] = {}
    for text, group in zip(texts, groups, strict=True):
        found.setdefault(text, set()).add(group)
    return sum(len(places) > 1 for places in found.values())
