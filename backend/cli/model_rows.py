"""A model by its name: what the commands about models share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.connectors.errors import LearningError

if TYPE_CHECKING:
    from nextlabel.backend.models.registry import Entry, ModelStore
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import ModelRow, Store

CURRENT = "current"
Version = Annotated[
    str,
    typer.Argument(help=f"A model's name as `nextlabel models list` shows it, or `{CURRENT}`.", show_default=False),
]


def model_store(recipe: Recipe, settings: Settings) -> ModelStore:
    """The project's trained models."""
    from nextlabel.backend.models.registry import ModelStore
    from nextlabel.backend.service.opening import project_home

    return ModelStore(project_home(recipe, settings) / "models")


def find_row(store: Store, version: str) -> ModelRow:
    """The row called ``version``. Raises LearningError with the nearest names."""
    from nextlabel.backend.models.registry import unknown_version

    rows = store.models()
    found = store.current_model() if version == CURRENT else next((row for row in rows if row.version == version), None)
    if found is None:
        raise LearningError(unknown_version(version, [row.version for row in rows]))
    return found


def checked_entry(models: ModelStore, row: ModelRow) -> Entry | None:
    """The trained model's folder, checked; None for a probe that is there. Raises LearningError if files are gone."""
    from nextlabel.backend.models.registry import is_trained

    if is_trained(row.version):
        return models.get(row.version)
    if not Path(row.path).exists():
        raise LearningError(f"the weights of {row.version} are no longer there ({row.path}); only its figures are")
    return None


def other_labels(models: ModelStore, row: ModelRow, recipe: Recipe) -> str:
    """How the labels that a model was made for differ from those that the recipe asks for now; "" if they don't.

    Or if its files are gone, which is for others to say.
    """
    from nextlabel.backend.models.label_names import differences
    from nextlabel.backend.models.registry import is_trained
    from nextlabel.backend.questions import question_of

    question = question_of(recipe.labeling())
    try:
        if is_trained(row.version):
            card = models.get(row.version, check=False).card
            if card is not None and (card.rung == "spans") is not question.reads_tokens:
                return f"it was made for {'whole texts' if question.reads_tokens else 'spans'}"
            known, several = (card.labels, card.multi_label) if card is not None else ((), False)
        else:
            known, several = question.head_labels(Path(row.path))
    except LearningError:
        return ""
    return differences(known, recipe.labels, several=several, wants_several=question.several)
