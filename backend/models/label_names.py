"""What the rows of a kept head stand for: the names of its labels, by which it is read, never their order.

A recipe's labels may be put in another order, added, removed and renamed after a head was kept, and one label per
record may become several. What a head knows of a label follows the label's name. A head whose labels are not known,
because it was kept before they were noted in it, is not used: nobody can tell what its rows stand for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LABELS_FILE, CARD_FILE = "labels.json", "card.json"
"""Beside the head of a trained model: the names of its labels, and the model's card, which has them too."""

Matrix = npt.NDArray[np.float32]


def names_beside(head: Path, rows: int) -> tuple[str, ...]:
    """The labels of the ``rows`` of ``head`` by the files beside it; empty where none says so many."""
    for name in (LABELS_FILE, CARD_FILE):
        try:
            found: Any = json.loads(head.with_name(name).read_text(encoding="utf-8"))["labels"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(found, list) and len(found) == rows == len(set(map(str, found))):
            return tuple(map(str, found))
    return ()


def by_name(layer: Matrix, known: Sequence[str], wanted: Sequence[str], new: Matrix) -> Matrix:
    """The rows of ``layer`` float32 [c, d] in the order of ``wanted``; ``new`` [d] for a name that is not ``known``."""
    place = {name: row for row, name in enumerate(known)}
    rows = [layer[place[name]] if name in place else new for name in wanted]
    return np.ascontiguousarray(np.stack(rows), np.float32)


def differences(known: Sequence[str], wanted: Sequence[str], *, several: bool, wants_several: bool) -> str:
    """How what a head was made for differs from what is asked, in words; empty if only the order does.

    ``known``: its labels, none if that is not known. ``several``: whether it was made for several labels per record.
    """
    if not known:
        return "which labels it was made for is not known"
    parts = []
    if several and not wants_several:
        parts.append("it was made for any number of labels per record, and one is asked for")
    elif wants_several and not several:
        parts.append("it was made for one label per record, and any number is asked for")
    if new := [name for name in wanted if name not in known]:
        parts.append(f"it knows nothing yet of {', '.join(new)}")
    if gone := [name for name in known if name not in wanted]:
        parts.append(f"what it knows of {', '.join(gone)} is no longer asked for")
    return "; ".join(parts)
