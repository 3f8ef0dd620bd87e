"""docs/recipes.md, made of the fields of a recipe: ``python -m nextlabel.backend.recipe.reference``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from nextlabel.backend.suggesters import SuggesterSpec
from nextlabel.backend.training.spec import TrainingSpec

from .existing import ExistingAnswers
from .recipe import Recipe

EXAMPLE = """\
data: reviews.csv
fields: {text: review}
id: number
metadata: [stars]
labels:
  positive: the customer is happy and would come again
  negative: the customer complains
strategy: {margin-diverse: 0.8, random: 0.2}
instruction: How does the customer feel?
"""

HEAD = f"""\
# Recipes

A recipe says which data is labelled, what is asked, which model learns, and which record comes first. For a data
file of your own it is a YAML file of about ten lines, and no Python:

```yaml
{EXAMPLE}```

`nextlabel run reviews.yaml` reads it. A complaint names the file, the line and the fix. In Python, a recipe is a file
with `recipe = Recipe(...)` in it, whose records come from a function: `nextlabel recipes copy bbc-news mine.py` gives
one to start from. This page is generated: `python -m nextlabel.backend.recipe.reference`.

Every value is read as the text that stands in the file, so a label may be `yes` or `1` without quotes.

| key | default | what it says |
|---|---|---|
"""


TRAINING = """
## `training`

When and how the encoder itself is trained. The labels have to have grown enough; a process of its own does it, at low
priority; the result is used if it is not worse on the audit slice. In a file:

```yaml
training:
  rung: fine-tune
  pooling: bilstm
  loss: focal
```

| key | default | what it says |
|---|---|---|
"""


EXISTING = """
## `existing_answers`

Answers that the team has already, taken in at the start as answers of their annotators; what that means, and what is
read, is in [Import](import.md). A file, or a list of files, or with these keys:

```yaml
existing_answers:
  - file: votes.csv
    annotator: worker
    label: verdict
    accounts: {w1: anna@example.com, w2: ben@example.com}
```

| key | default | what it says |
|---|---|---|
"""


SUGGESTERS = """
## `suggest_from`

Models and rules that suggest before the first label, and are heard beside what is learned; what that means is in
[Start from a model](suggest.md). One, or a list; in a word a model or an address:

```yaml
suggest_from:
  - model: our-old-classifier
    labels: {LABEL_0: refund, LABEL_1: card}
  - keywords: {refund: [refund, money back], card: [card, visa]}
```

| key | default | what it says |
|---|---|---|
"""


def _default(value: Any) -> str:
    if value is PydanticUndefined or value in (None, "", ()) or isinstance(value, Mapping):
        return ""
    return f"`{value}`"


def markdown() -> str:
    """The page."""
    said = {"name": "the file's name", "fields": "`text`"}
    nested: tuple[tuple[str, type[BaseModel]], ...] = (
        (TRAINING, TrainingSpec),
        (EXISTING, ExistingAnswers),
        (SUGGESTERS, SuggesterSpec),
    )
    return HEAD + _rows(Recipe, said) + "".join(head + _rows(model, {}) for head, model in nested)


def _rows(model: type[BaseModel], said: Mapping[str, str]) -> str:
    """A line of the table for each field; ``said`` has the defaults that are not values."""
    return "".join(
        f"| `{name}` | {said.get(name) or _default(info.default)} | {info.description} |\n"
        for name, info in model.model_fields.items()
        if info.description != "Python only."
    )


if __name__ == "__main__":
    sys.stdout.write(markdown())
