"""``models``: list what was made of a project, look into a model, put one into use, write one for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nextlabel.backend.models.export import push_to_hub
from nextlabel.connectors.errors import LearningError

from .common import AsJson, RecipeName, command_group, examples, print_json, print_table, project_of, say
from .ending import TERMINATED, ends_in_time

if TYPE_CHECKING:
    from nextlabel.backend.models.registry import Entry, ModelStore
    from nextlabel.backend.recipe.recipe import Recipe
    from nextlabel.backend.settings import Settings
    from nextlabel.backend.store import ModelRow, Store

CURRENT = "current"
CHECKED_TEXTS = 256
FOLLOWS = "a running service follows once it has encoded all records for it; see: nextlabel status"
Version = Annotated[
    str,
    typer.Argument(help=f"A model's name as `nextlabel models list` shows it, or `{CURRENT}`.", show_default=False),
]


app = command_group(no_args_is_help=True)


@app.callback()
def group() -> None:
    """See the models made so far, choose one, or export one."""


@app.command("list", epilog=examples("nextlabel models list reviews.yaml"))
def list_models(recipe: RecipeName, as_json: AsJson = False) -> None:
    """List a project's models, newest first, with what was measured."""
    with project_of(recipe) as (_, _, store):
        rows, current = store.models(), store.current_model()
    chosen = current.version if current else None
    if as_json:
        print_json([_row(row, chosen) for row in rows])
        return
    print_table(
        ("model", "in use", "labelled", "made", "measured"),
        [
            (
                row.version,
                "*" if row.version == chosen else "",
                _labelled(row),
                f"{row.created_at:%Y-%m-%d %H:%M}",
                _measured(row),
            )
            for row in rows
        ],
        a_line_each=True,
    )


@app.command(
    "show",
    epilog=examples("nextlabel models show reviews.yaml fine-tune-2", "nextlabel models show reviews.yaml current"),
)
def show_model(recipe: RecipeName, version: Version, as_json: AsJson = False) -> None:
    """Show all that is known of a model.

    Its card, figures with intervals, what it was made from, its size.
    """
    from nextlabel.backend.models.saving import read_epochs

    with project_of(recipe) as (chosen, settings, store):
        row, current, models = find_row(store, version), store.current_model(), model_store(chosen, settings)
    try:
        entry, problem = checked_entry(models, row), ""
    except LearningError as error:
        entry, problem = None, str(error)
    known = _row(row, current.version if current else None) | {
        "path": row.path,
        "bytes": _size(row),
        "problem": problem,
        "other_labels": other_labels(models, row, chosen),
        "epochs": read_epochs(entry.path) if entry is not None else [],
    }
    if as_json:
        from dataclasses import asdict

        print_json(known | {"card": asdict(entry.card) if entry and entry.card else None})
        return
    print_table(("", row.version), _facts(row, entry, known))


@app.command("promote", epilog=examples("nextlabel models promote reviews.yaml fine-tune-1"))
def promote(recipe: RecipeName, version: Version) -> None:
    """Put a model into use, whatever the figures say. A running service follows once it has encoded all records."""
    from nextlabel.backend.models.registry import choose_version

    with project_of(recipe) as (chosen, settings, store):
        models = model_store(chosen, settings)
        row = choose_version(store, models, find_row(store, version).version)
    say(f"{row.version} is chosen; {FOLLOWS}")
    if text := other_labels(models, row, chosen):
        say(f"note: {row.version} was made for other labels: {text}")


@app.command("rollback", epilog=examples("nextlabel models rollback reviews.yaml"))
def rollback(recipe: RecipeName) -> None:
    """Go back to what was in use before the trained model."""
    from nextlabel.backend.models.registry import roll_back

    with project_of(recipe) as (chosen, settings, store):
        models = model_store(chosen, settings)
        version = roll_back(store, models)
        text = other_labels(models, find_row(store, version), chosen) if version else ""
    say(f"{version or f'the encoder {chosen.encoder}'} is chosen again; {FOLLOWS}")
    if text:
        say(f"note: {version} was made for other labels: {text}")


@app.command(
    "export",
    epilog=examples(
        "nextlabel models export reviews.yaml current reviews-model",
        "nextlabel models export reviews.yaml fine-tune-2 out --format onnx",
        "nextlabel models export reviews.yaml fine-tune-2 out --push-to me/reviews",
    ),
)
def export(
    recipe: RecipeName,
    version: Version,
    out: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    form: Annotated[
        Literal["transformers", "nextlabel", "onnx"],
        typer.Option(
            "--format",
            help="`transformers`: for pipeline(); `onnx`: one file, probabilities out; `nextlabel`: as it is kept.",
        ),
    ] = "transformers",
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

    with project_of(recipe) as (chosen, settings, store):
        row, labeling = find_row(store, version), chosen.labeling()
        texts = [labeling.content(item.record) for item in islice(store.records(), CHECKED_TEXTS)]
    models = model_store(chosen, settings)
    with _nothing_half_done(), _folder_of(row, models, chosen) as folder:
        done = export_model(folder, out, form, texts)
    if text := other_labels(models, row, chosen):
        say(f"note: {row.version} was made for other labels, and is exported with its own: {text}")
    address = push_to_hub(out, push_to, private=not public) if push_to else None
    if as_json:
        facts = {"version": row.version, "path": str(out), "form": done.form, "hub": address, "note": done.note}
        print_json(facts | {"largest_difference": done.difference, "texts": done.texts})
        return
    say(f"{row.version} is in {out}" + (f" and at {address}" if address else ""))
    if done.texts:
        say(f"no probability differs by more than {max(done.difference, 1e-6):.0e} from ours ({done.texts} texts)")
    if done.note:
        say(done.note)


def _row(row: ModelRow, current: str | None) -> dict[str, Any]:
    return {
        "version": row.version,
        "current": row.version == current,
        "kind": row.kind,
        "base": row.base,
        "log_seq": row.log_seq,
        "created_at": row.created_at.isoformat(),
        "metrics": dict(row.metrics),
    }


def _facts(row: ModelRow, entry: Entry | None, known: dict[str, Any]) -> Iterable[tuple[str, str]]:
    card = entry.card if entry else None
    facts = {
        "in use": "yes" if known["current"] else "no",
        "kind": row.kind,
        "made": f"{row.created_at:%Y-%m-%d %H:%M:%S}",
        "labelled": _labelled(row),
        "log rows seen": str(row.log_seq),
        "encoder from": row.base or "the recipe",
        "measured": _measured(row),
        "size": f"{known['bytes'] / 2**20:,.1f} MiB" if known["bytes"] else "",
        "where": row.path,
        "problem": known["problem"],
        "other labels": known["other_labels"],
    }
    if card is not None:
        facts |= {
            "encoder from": card.parent or card.base,
            "base encoder": card.base,
            "figures": "\n".join(map(str, card.figures)),
            "how measured": card.measured,
            "labels": "\n".join(f"{label}: {count:,}" for label, count in card.counts.items()),
            "hash of the texts": card.data_hash,
            "trained": f"{card.seconds:,.0f} s on {card.device}" if card.device else "",
            "epochs": "\n".join(map(_epoch, known["epochs"])),
            "settings": ", ".join(f"{name} {value}" for name, value in card.spec.items()),
            "versions": ", ".join(f"{name} {number}" for name, number in card.libraries.items()),
        }
    return [(name, text) for name, text in facts.items() if text]


def _epoch(entry: dict[str, float]) -> str:
    names = {"loss": "loss", "log_loss": "held-out log loss", "macro_f1": "held-out macro-F1"}
    parts = [f"{name} {entry[key]:.3f}" for key, name in names.items() if key in entry]
    member = f"member {entry['member'] + 1:g}, " if "member" in entry else ""
    return f"{member}{entry['epoch']:g}: {', '.join(parts)}"


def _size(row: ModelRow) -> int:
    path = Path(row.path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _measured(row: ModelRow) -> str:
    plain = {
        name: value for name, value in row.metrics.items() if name != "labels" and not isinstance(value, (dict, list))
    }
    return ", ".join(f"{name} {_short(value)}" for name, value in plain.items())


def _labelled(row: ModelRow) -> str:
    """How many labelled records it was made from; those of the audit are none of them."""
    return f"{row.metrics['labels']:,.0f}" if "labels" in row.metrics else ""


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
    from nextlabel.backend.models.probe import differences
    from nextlabel.backend.models.registry import is_trained
    from nextlabel.backend.questions import question_of

    question = question_of(recipe.labeling())
    try:
        if is_trained(row.version):
            card = models.get(row.version, check=False).card
            if card is not None and (card.rung == "spans") is not question.reads_tokens:
                return f"it was made for {'whole texts' if question.reads_tokens else 'spans'}"
            known, several = (card.labels, card.activation.several) if card is not None else ((), False)
        else:
            head = question.read_head(Path(row.path))
            known, several = head.labels, head.several
    except LearningError:
        return ""
    return differences(known, recipe.labels, several=several, wants_several=question.activation.several)


@contextmanager
def _nothing_half_done() -> Iterator[None]:
    """A signal ends the block in order, so that what was begun to be written vanishes; and that is a failure."""
    import signal

    with ends_in_time() as ending:
        ending.words = "ending; nothing is written"
        ending.codes[signal.SIGTERM] = TERMINATED
        yield


@contextmanager
def _folder_of(row: ModelRow, models: ModelStore, recipe: Recipe) -> Iterator[Path]:
    """A folder that holds the model whole: the trained model's own, or one laid out for a probe."""
    entry = checked_entry(models, row)
    if entry is not None:
        yield entry.path
        return
    from tempfile import TemporaryDirectory

    from nextlabel.backend.encoders.fusion import is_fused
    from nextlabel.backend.encoders.model_folder import find_model
    from nextlabel.backend.encoders.multimodal import is_multimodal
    from nextlabel.backend.models.card import ModelCard, audit_figures
    from nextlabel.backend.models.export.folder import lay_out
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
        activation=head.activation,
        figures=audit_figures(row.metrics),
        measured="On records drawn at random, shown to people without a suggestion, and never trained on.",
        temperature=head.temperature,
        max_length=encoder.max_length,
        windows=recipe.windows,
    )
    with TemporaryDirectory(prefix="nextlabel-export-") as folder:
        lay_out(encoder, head, card, Path(folder))
        yield Path(folder)
