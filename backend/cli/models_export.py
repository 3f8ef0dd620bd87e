"""``models export``: a model as a folder that other programs load, and on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.backend.models.export.hub import push_to_hub
from nextlabel.backend.recipe.catalogue import find_recipe
from nextlabel.connectors.errors import LearningError

from .common import AsJson, RecipeName, examples, existing_store, print_json, say
from .model_rows import Version, checked_entry, find_row, model_store, other_labels

if TYPE_CHECKING:
    from nextlabel.backend.models.registry import ModelStore
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.store import ModelRow

CHECKED_TEXTS = 256


class ExportFormat(StrEnum):
    """What can be written."""

    TRANSFORMERS = "transformers"
    NEXTLABEL = "nextlabel"
    ONNX = "onnx"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "export",
        epilog=examples(
            "nextlabel models export reviews.yaml current reviews-model",
            "nextlabel models export reviews.yaml fine-tune-2 out --format onnx",
            "nextlabel models export reviews.yaml fine-tune-2 out --push-to me/reviews",
        ),
    )(export)


def export(
    recipe: RecipeName,
    version: Version,
    out: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="`transformers`: for pipeline(); `onnx`: one file, probabilities out; `nextlabel`: as it is kept.",
        ),
    ] = ExportFormat.TRANSFORMERS,
    push_to: Annotated[
        str | None, typer.Option(help="OWNER/NAME on the Hugging Face hub to upload to, too.", show_default=False)
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository on the hub public.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model into a folder for other programs, or to the hub.

    What they make of it is checked against our own probabilities first. The model in use is mostly a probe on an
    encoder: the two are written as one model.
    """
    from nextlabel.backend.models.export.export import export_model
    from nextlabel.backend.settings import Settings

    chosen, settings = find_recipe(recipe), Settings.load()
    labeling = chosen.labeling()
    with existing_store(chosen, settings) as store:
        row = find_row(store, version)
        texts = [labeling.text(item.record) for item in islice(store.records(), CHECKED_TEXTS)]
    models = model_store(chosen, settings)
    with _folder_of(row, models, chosen) as folder:
        done = export_model(folder, out, form.value, texts)
    if text := other_labels(models, row, chosen):
        say(f"note: {row.version} was made for other labels, and is exported with its own: {text}")
    address = None
    if push_to:
        address = push_to_hub(out, push_to, private=not public)
    if as_json:
        facts = {"version": row.version, "path": str(out), "form": done.form, "hub": address, "note": done.note}
        print_json(facts | {"largest_difference": done.difference, "texts": done.texts})
        return
    say(f"{row.version} is in {out}" + (f" and at {address}" if address else ""))
    if done.texts:
        say(f"no probability differs by more than {max(done.difference, 1e-6):.0e} from ours ({done.texts} texts)")
    if done.note:
        say(done.note)


@contextmanager
def _folder_of(row: ModelRow, models: ModelStore, recipe: Recipe) -> Iterator[Path]:
    """A folder that holds the model whole: the trained model's own, or one laid out for a probe."""
    entry = checked_entry(models, row)
    if entry is not None:
        yield entry.path
        return
    from tempfile import TemporaryDirectory

    from nextlabel.backend.encoders.fused import is_fused
    from nextlabel.backend.encoders.model_folder import find_model
    from nextlabel.backend.encoders.multimodal import is_multimodal
    from nextlabel.backend.models.card import ModelCard
    from nextlabel.backend.models.export.export import audit_figures, lay_out
    from nextlabel.backend.models.probe import Probe
    from nextlabel.backend.questions import question_of

    if question_of(recipe.labeling()).reads_tokens:
        instead = f"export {row.base} itself" if row.base else "one that is fine-tuned can be exported"
        raise LearningError(f"{row.version} marks spans with a layer that no pipeline has a place for; {instead}")
    if not row.base and (recipe.encoder == "hashing" or is_multimodal(recipe.encoder)):
        raise LearningError(
            f"{row.version} stands on the encoder {recipe.encoder}, which has no form to be exported in"
        )
    if row.base and is_fused(models.get(row.base).path):
        raise LearningError(
            f"{row.version} stands on {row.base}, a head on vectors of texts and images; export {row.base} itself, "
            "with --format nextlabel"
        )
    encoder = find_model(str(models.get(row.base).path) if row.base else recipe.encoder, max_length=recipe.max_length)
    head = Probe.load(row.path)
    if not head.names:
        instead = f", or export {row.base} itself" if row.base else ""
        raise LearningError(
            f"which labels {row.version} stands for was not noted yet when it was kept: start the service, which soon "
            f"keeps a new one{instead}"
        )
    card = ModelCard(
        version=row.version,
        project=recipe.name,
        rung=row.kind,
        created=row.created_at.isoformat(timespec="seconds"),
        base=recipe.encoder,
        parent=row.base,
        labels=head.names,
        multi_label=head.multi_label,
        figures=audit_figures(row.metrics),
        measured="On records drawn at random, shown to people without a suggestion, and never trained on.",
        temperature=head.temperature,
        max_length=encoder.max_length,
        windows=recipe.windows,
    )
    with TemporaryDirectory(prefix="nextlabel-export-") as folder:
        lay_out(encoder, head, card, Path(folder))
        yield Path(folder)
