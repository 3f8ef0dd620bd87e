"""``serve``: a project that was pushed before, or a model alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.server import BackgroundServer, listen
from nextlabel.connectors.errors import ConfigError

from .common import command_group, examples, existing_store, project_of, say
from .ending import ends_in_time
from .models import checked_entry, find_row, model_store
from .run import Host, OtherPlatform, Port, Wanted, chosen_recipe, serve_project, start_settings

if TYPE_CHECKING:
    from nextlabel.backend.frozen import FrozenModel
    from nextlabel.backend.settings import Settings

app = command_group()


@app.command(
    epilog=examples(
        "nextlabel serve reviews.yaml --port 9091",
        "nextlabel serve --model reviews-model                       a folder that `models export` wrote",
        "nextlabel serve --model dslim/distilbert-NER                a classifier on the hub",
        "nextlabel serve reviews.yaml --model fine-tune-2            a model of a project",
        "nextlabel serve --model reviews-model --label LABEL_0=bad --label LABEL_1=good",
    )
)
def serve(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe whose project was pushed; not needed with --model.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Serve this model alone, which learns nothing: a folder, a name on the hub, or with RECIPE the name "
            "of a model of that project, or `current`.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="MODEL=OURS",
            help="Another name for a label of --model, as your project has it; empty to leave it out. Repeatable.",
            show_default=False,
        ),
    ] = None,
    platform: OtherPlatform = None,
    host: Host = None,
    port: Port = None,
) -> None:
    """Serve a project that was pushed before, or a model alone.

    Of a project the data is not read again. On a store that another nextlabel works on, this one answers predictions
    and stands by to take over.

    With --model there is no project: it answers POST /api/predict, and as an ML backend /setup and /predict of any
    Label Studio project that asks what the model knows. /docs shows how, `nextlabel login` the token.
    """
    if model is None:
        if label:
            raise ConfigError("--label renames labels of a model; name it with --model")
        if recipe is None:
            raise typer.BadParameter("name one, or a model with --model", param_hint="RECIPE")
        _serve_pushed(recipe, platform, host, port)
        return
    if platform is not None:
        raise ConfigError("--platform is for a project; a model that is served alone has none")
    _serve_model(model, recipe, renamings(label or ()), start_settings(host, port))


def _serve_pushed(recipe: str, platform: str | None, host: str | None, port: int | None) -> None:
    from nextlabel.backend.service.project import PROJECT

    settings = start_settings(host, port)
    chosen = chosen_recipe(recipe, Wanted(platform=platform), settings)
    with existing_store(chosen, settings) as store:
        if store.get_meta(PROJECT) is None:
            raise ConfigError(f"nothing was pushed for {chosen.name} yet; start with: nextlabel run {recipe}")
    serve_project(chosen.model_copy(update={"data": "", "records": None, "reader": None}), settings, seed=0, yes=True)


def renamings(given: Sequence[str]) -> dict[str, str]:
    """``MODEL=OURS`` taken apart: old -> new. The first name may hold a =. Raises ConfigError."""
    found: dict[str, str] = {}
    for one in given:
        old, equals, new = one.rpartition("=")
        if not equals or not old.strip():
            raise ConfigError(f"--label {one!r} can't be read; write MODEL=OURS, like LABEL_0=negative")
        found[old.strip()] = new.strip()
    return found


def _serve_model(name: str, recipe: str | None, names: dict[str, str], settings: Settings) -> None:
    from nextlabel.backend.app import create_model_app
    from nextlabel.backend.serving.served_model import ServedModel

    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))  # a taken port is known before the work
        ending = stack.enter_context(ends_in_time())
        say(f"loading {name}")
        model = _opened(name, recipe, settings)
        served = ServedModel(model.renamed(names) if names else model)
        server = BackgroundServer(create_model_app(served, settings), listener)
        url = settings.address(listener.getsockname()[1])
        say(f"model:       {model.made_of}: {', '.join(served.labeling.labels[:MOST_LABELS])}")
        say(f"service:     {url}  (API page: {url}/docs; to log in: nextlabel login)")
        say(f"try it:      curl {HEADERS} {url}/api/predict -d {EXAMPLE}")
        try:
            with server:
                server.wait()
        finally:
            if not served.stop(ending.left_s()) and ending.signal:
                ending.leave()


MOST_LABELS = 20
HEADERS = '-H "Authorization: Bearer $(nextlabel login --token)" -H "Content-Type: application/json"'
EXAMPLE = """'{"text": "..."}'"""


def _opened(name: str, recipe: str | None, settings: Settings) -> FrozenModel:
    """The model called ``name``, of the project of ``recipe`` where one is named."""
    from nextlabel.backend.encoders.base import EncoderSpec
    from nextlabel.backend.frozen import open_model

    if recipe is not None:
        return model_of_project(name, recipe)
    rules = ImageRules.of((), "", settings.image_hosts)  # no files of this machine
    spec = EncoderSpec(name, images=rules, cache_dir=settings.home / "encoders")
    return open_model(name, spec, threads=settings.thread_count())


def model_of_project(version: str, recipe: str) -> FrozenModel:
    """The model called ``version`` of the project of ``recipe``. Raises LearningError with the nearest names."""
    from nextlabel.backend.frozen.opening import with_head
    from nextlabel.backend.models.saving import HEAD_FILE
    from nextlabel.backend.questions import question_of
    from nextlabel.backend.service.opening import encoder_spec

    with project_of(recipe) as (chosen, settings, store):
        row = find_row(store, version)
    models = model_store(chosen, settings)
    entry, spec = checked_entry(models, row), encoder_spec(chosen, settings)
    head = Path(row.path) if entry is None else entry.path / HEAD_FILE
    trained = entry.path if entry is not None else models.get(row.base).path if row.base else None
    if trained is not None:
        spec = replace(spec, name=str(trained))
    return with_head(row.version, question_of(chosen.labeling()), head, spec, settings.thread_count())
