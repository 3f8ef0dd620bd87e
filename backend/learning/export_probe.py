"""A probe with the encoder whose vectors it reads, laid out as one trained model: what the export takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextlabel.backend.learning.card import PAGE_FILE, Figure, ModelCard
from nextlabel.backend.learning.label_names import CARD_FILE, LABELS_FILE
from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training.saving import HEAD_FILE, TRAINING_FILE

_LENGTH_FILE = "sentence_bert_config.json"
_OWN = {HEAD_FILE, LABELS_FILE, CARD_FILE, PAGE_FILE, _LENGTH_FILE, TRAINING_FILE}


def lay_out(encoder: ModelFolder, head: Probe, card: ModelCard, folder: Path) -> None:
    """Fill the empty ``folder``: links to the encoder's files, and ``head``, labels and card of its own.

    ``card.labels`` are those of the head, in their order.

    The links are absolute; the folder is good for as long as the encoder stays where it is.
    """
    for item in encoder.path.iterdir():
        if item.name not in _OWN:
            (folder / item.name).symlink_to(item.resolve())
    head.save(folder / HEAD_FILE)
    labels = {"labels": list(card.labels), "multi_label": card.multi_label}
    (folder / LABELS_FILE).write_text(json.dumps(labels, ensure_ascii=False), encoding="utf-8")
    (folder / _LENGTH_FILE).write_text(json.dumps({"max_seq_length": encoder.max_length}), encoding="utf-8")
    card.save(folder)


def audit_figures(metrics: Mapping[str, Any]) -> tuple[Figure, ...]:
    """What the loop noted of a model's accuracy on the audit slice, if anything was answered there yet."""
    if not metrics.get("audit_n"):
        return ()
    value, low, high = (float(metrics[f"audit_{name}"]) for name in ("accuracy", "low", "high"))
    return (Figure("accuracy", value, low, high, int(metrics["audit_n"]), "audit"),)
