"""A fine-tuned span model for others to use: the folder is one for ``pipeline("token-classification")`` already.

Its own classifier goes with it. In the loop a probe stands in its place, refitted after every answer: that one is not
exported, since a pipeline has no place for the neighbours that it reads each token with.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from nextlabel.backend.learning.card import PAGE_FILE, read_or_make_card
from nextlabel.backend.learning.export_files import new_folder
from nextlabel.backend.learning.label_names import CARD_FILE, LABELS_FILE
from nextlabel.backend.learning.spans.model import SpanModel
from nextlabel.backend.learning.spans.token_vectors import LAYER_FILE
from nextlabel.backend.learning.training.saving import HEAD_FILE, TRAINING_FILE
from nextlabel.connectors.errors import LearningError

NOTE = (
    "This classifier was trained together with the encoder. In nextlabel a layer that learns from every new answer has "
    "its place; the figures were measured with that one."
)
USAGE = """from transformers import pipeline

tag = pipeline("token-classification", model=".", aggregation_strategy="simple")
print(tag("a text of the kind that the model was trained for"))"""
_OURS = {HEAD_FILE, LABELS_FILE, TRAINING_FILE, CARD_FILE, PAGE_FILE, LAYER_FILE}


def is_span_model(folder: Path) -> bool:
    """Whether the trained model in ``folder`` marks spans."""
    try:
        return bool(json.loads((folder / TRAINING_FILE).read_bytes())["kind"] == "spans")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def export_spans(folder: Path, out: Path, form: str) -> str:
    """Write the model in ``folder`` to the new folder ``out``, and return a note for the reader.

    ``form`` as in export.export_model, whose errors these are. ``nextlabel`` copies the folder as it is.
    """
    if form == "onnx":
        raise LearningError(f"{folder.name} marks spans, and there is no ONNX form for it; take --format transformers")
    with new_folder(out) as work:
        for file in folder.iterdir():
            if file.is_file() and (form == "nextlabel" or file.name not in _OURS):
                shutil.copyfile(file, work / file.name)
        model = SpanModel.load(work)
        if form == "nextlabel":
            return ""
        card = replace(read_or_make_card(folder, model.labels, multi_label=False), rung="spans")
        (work / PAGE_FILE).write_text(card.page(USAGE, NOTE), encoding="utf-8")
    return NOTE
